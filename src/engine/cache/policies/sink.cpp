// The first few positions and the latest ones (StreamingLLM: Xiao et al. 2023, arXiv 2309.17453). The first ones draw
// attention whatever they hold, and a window without them falls apart.
#include "kinglet/cache_policy.h"

namespace kinglet {
namespace {

constexpr CachePolicyOption kOptions[] = {
    {.name = "size", .help = "Slots of a layer", .fallback = 512, .min = 32, .max = 1 << 24},
    {.name = "sinks", .help = "First positions that always stay", .fallback = 4, .min = 0, .max = 1 << 16},
    {.name = "batch", .help = "Slots freed at once", .fallback = 16, .min = 1, .max = 4096},
};

class SinkPolicy final : public CachePolicy {
 public:
  SinkPolicy(std::int64_t size, std::int64_t sinks, std::int64_t batch)
      : capacity_(size + batch / 2), sinks_(sinks), batch_(batch) {}

  /// `batch` slots are freed at once, so a full layer holds batch / 2 fewer on average: the size is that average.
  std::int64_t capacity() const override { return capacity_; }

  std::int64_t choose(int, std::int64_t slots, std::int64_t&, std::vector<std::int64_t>& kept) const override {
    const std::int64_t batches = (slots - capacity_ + batch_ - 1) / batch_;
    for (std::int64_t slot = sinks_ + batches * batch_; slot < slots; ++slot) kept.push_back(slot);
    return sinks_;
  }

 private:
  std::int64_t capacity_, sinks_, batch_;
};

Result<std::unique_ptr<const CachePolicy>> make(const CachePolicyValues& values, int) {
  const std::int64_t size = values.at("size"), sinks = values.at("sinks"), batch = values.at("batch");
  if (sinks + batch + 1 > size)
    return fail(ErrorCode::kInvalidArgument,
                "a cache of " + std::to_string(size) + " slots has no room for " + std::to_string(sinks) +
                    " sinks and batches of " + std::to_string(batch),
                "Give size at least sinks + batch + 1.");
  return std::make_unique<const SinkPolicy>(size, sinks, batch);
}

}  // namespace

extern const CachePolicyDescriptor cache_policy_sink;
const CachePolicyDescriptor cache_policy_sink = {
    .name = "sink",
    .paper = "",
    .help = "The first positions and a window of the latest; constant memory for any length",
    .options = kOptions,
    .make = make,
};

}  // namespace kinglet
