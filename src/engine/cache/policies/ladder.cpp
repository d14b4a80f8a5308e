// The ladder (LaCache: Shi et al. 2025, arXiv 2507.14204): of each group of old slots the shallow layers keep the
// earlier ones and the deeper layers the later ones, so that the same bytes span several times more text. When a layer
// is full again, the ladder is laid over what the last one left: old text fades, and memory never grows.
#include <algorithm>

#include "kinglet/cache_policy.h"

namespace kinglet {
namespace {

constexpr CachePolicyOption kOptions[] = {
    {.name = "size", .help = "Slots of a layer, on average", .fallback = 512, .min = 32, .max = 1 << 24},
    {.name = "sinks", .help = "First positions that every layer keeps", .fallback = 4, .min = 0, .max = 1 << 16},
    {.name = "span",
     .help = "Layers that keep one position; 0: a quarter of them",
     .fallback = 0,
     .min = 0,
     .max = 4096},
    {.name = "overlap",
     .help = "Layers that two neighbours share; -1: half of the span",
     .fallback = -1,
     .min = -1,
     .max = 4096},
    {.name = "recent",
     .help = "Latest slots that no layer thins, where they are more than the layers",
     .fallback = 0,
     .min = 0,
     .max = 1 << 24},
    {.name = "batch", .help = "Slots freed at once, at least", .fallback = 1, .min = 1, .max = 4096},
};

struct Ladder {
  std::int64_t sinks = 0;
  std::int64_t recent = 0;  ///< last slots that are left to the next pass: one a layer, or more
  std::int64_t group = 0;   ///< b: slots of a group
  std::int64_t stays = 0;   ///< a: of them, those that a layer keeps
  std::int64_t groups = 1;  ///< laid at once
  std::int64_t freed() const { return group - stays; }
};

class LadderPolicy final : public CachePolicy {
 public:
  /// The size is what a full layer holds on average, so half of what is freed at once comes on top.
  LadderPolicy(const Ladder& ladder, std::int64_t size)
      : ladder_(ladder), capacity_(size + ladder.groups * ladder.freed() / 2) {}

  std::int64_t capacity() const override { return capacity_; }

  std::int64_t choose(int layer, std::int64_t slots, std::int64_t& cursor,
                      std::vector<std::int64_t>& kept) const override {
    const std::int64_t first = std::max(cursor, ladder_.sinks);
    for (std::int64_t slot = ladder_.sinks; slot < slots; ++slot) kept.push_back(slot);
    if (cursor < ladder_.sinks) cursor = ladder_.sinks;
    // More than one pass only where a prompt came in chunks that are large beside the cache.
    while (static_cast<std::int64_t>(kept.size()) + ladder_.sinks > capacity_)
      if (lay(layer, cursor, kept) == 0) cursor = ladder_.sinks;
    // What lies before the first pass's cursor stays, unless a pass began again.
    if (cursor < first) return ladder_.sinks;
    kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(first - ladder_.sinks));
    return first;
  }

 private:
  /// Lays groups from the cursor on, as many as are needed and fit. `kept`: the slots behind the sinks.
  std::int64_t lay(int layer, std::int64_t& cursor, std::vector<std::int64_t>& kept) const {
    const std::int64_t slots = std::ssize(kept) + ladder_.sinks, need = slots - capacity_;
    const std::int64_t wanted = std::max((need + ladder_.freed() - 1) / ladder_.freed(), ladder_.groups);
    const std::int64_t fit = std::max<std::int64_t>(
        std::min((capacity_ - cursor - ladder_.recent) / ladder_.stays, (slots - cursor) / ladder_.group), 0);
    const std::int64_t count = std::min(wanted, fit), shift = layer % (ladder_.freed() + 1);
    const std::int64_t begin = cursor - ladder_.sinks;
    for (std::int64_t i = 0; i < count * ladder_.stays; ++i)
      kept[static_cast<std::size_t>(begin + i)] =
          kept[static_cast<std::size_t>(begin + i / ladder_.stays * ladder_.group + shift + i % ladder_.stays)];
    kept.erase(kept.begin() + begin + count * ladder_.stays, kept.begin() + begin + count * ladder_.group);
    cursor += count * ladder_.stays;
    return count;
  }

  Ladder ladder_;
  std::int64_t capacity_;
};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Result<std::unique_ptr<const CachePolicy>> make(const CachePolicyValues& values, int layers) {
  const std::int64_t size = values.at("size"), batch = values.at("batch");
  std::int64_t span = values.at("span"), overlap = values.at("overlap");
  if (span == 0) span = std::max((layers + 2) / 4, 1);
  if (overlap < 0) overlap = span / 2;
  if (span >= layers || overlap >= span)
    return fail(ErrorCode::kInvalidArgument,
                "a ladder of span " + std::to_string(span) + " and overlap " + std::to_string(overlap) + " over " +
                    std::to_string(layers) + " layers frees nothing",
                "The overlap must be below the span, and the span below the number of full-attention layers.");
  Ladder ladder{.sinks = values.at("sinks"), .recent = std::max<std::int64_t>(layers, values.at("recent"))};
  ladder.group = 1 + ceil_div(layers - span, span - overlap);
  ladder.stays = std::min(ceil_div(span, span - overlap), ladder.group);
  if (ladder.freed() < 1)
    return fail(ErrorCode::kInvalidArgument,
                "a ladder of span " + std::to_string(span) + " and overlap " + std::to_string(overlap) + " over " +
                    std::to_string(layers) + " layers frees nothing",
                "Give a smaller span or overlap.");
  ladder.groups = ceil_div(batch, ladder.freed());
  if (size < ladder.sinks + ladder.recent + ladder.groups * ladder.group)
    return fail(
        ErrorCode::kInvalidArgument, "a cache of " + std::to_string(size) + " slots has no room for the ladder",
        "Give size=" + std::to_string(ladder.sinks + ladder.recent + ladder.groups * ladder.group) + " or more.");
  return std::make_unique<const LadderPolicy>(ladder, size);
}

}  // namespace

extern const CachePolicyDescriptor cache_policy_ladder;
const CachePolicyDescriptor cache_policy_ladder = {
    .name = "ladder",
    .paper = "078",
    .help = "Layers share the remembering of old text; constant memory for any length",
    .options = kOptions,
    .make = make,
};

}  // namespace kinglet
