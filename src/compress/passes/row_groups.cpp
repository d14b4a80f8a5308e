// An encoder's embedding in groups of rows by how often the tokens stand in the calibration text, so that each group
// can have a type of its own in the step after it.
#include <algorithm>
#include <numeric>

#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/plan/sensitivity.h"
#include "compress/type_rules.h"
#include "kinglet/convert.h"
#include "kinglet/factors.h"
#include "kinglet/pass.h"
#include "model/row_groups_format.h"

namespace kinglet {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::int64_t kMostGroups = 16;
constexpr std::size_t kNeighbours = 256;                  // to each side
constexpr std::size_t kAllTokens = std::size_t{1} << 40;  // of the text: counting costs little

constexpr PassOption kOptions[] = {
    {.name = "groups",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Groups of rows",
     .fallback = "8",
     .min = 2,
     .max = kMostGroups},
    {.name = "first",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Rows of the first group, those of the commonest tokens",
     .fallback = "128",
     .min = 1,
     .max = 1 << 24},
    {.name = "factor",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Rows of each further group as a multiple of those before it; the last group has the rest",
     .fallback = "2",
     .min = 1,
     .max = 1000},
};

/// Tokens that a text lacks get what they are expected to count in another text of its length, below any that it has:
/// by Good and Turing the tokens that stood once tell how many new ones come, and the new ones are alike to their
/// neighbours in the vocabulary (made from common to rare, with stretches of other scripts and of spare tokens).
void count_unseen(std::vector<double>& counts) {
  std::vector<double> once(counts.size() + 1), never(counts.size() + 1);  // sums over all tokens before
  for (std::size_t i = 0; i < counts.size(); ++i) {
    once[i + 1] = once[i] + (counts[i] == 1 ? 1 : 0);
    never[i + 1] = never[i] + (counts[i] == 0 ? 1 : 0);
  }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != 0) continue;
    const std::size_t begin = i - std::min(i, kNeighbours), end = std::min(i + kNeighbours + 1, counts.size());
    const double found = once[end] - once[begin], missing = never[end] - never[begin];
    counts[i] = found / (found + missing);
  }
}

class RowGroups final : public Pass {
 public:
  explicit RowGroups(const PassOptions& options)
      : groups_(options.integer("groups")), first_(options.integer("first")), factor_(options.integer("factor")) {}

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(const PassPlan whole, copying_plan(context));
    plan_ = whole;
    plan_.tensors.clear();
    for (const PassPlan::Tensor& tensor : whole.tensors) {
      if (tensor.name == kEmbedding) {
        add_groups(tensor);
      } else {
        plan_.tensors.push_back(tensor);
      }
    }
    KINGLET_TRY(auto list, factored_matrices(plan_.metadata));
    list.push_back(matrix_);
    set_factored_matrices(plan_.metadata, list);
    plan_.metadata.erase("general.file_type");
    leave_out_foreign_tokenizer(*context.source, plan_.metadata);
    plan_.memory_bytes = streaming_memory(*context.pool) + context.source->find(kEmbedding)->bytes;
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (tensor.block == block && matrix_of_factor(tensor.name) != kEmbedding)
        KINGLET_CHECK(copy_tensor(context, tensor, sink));
    return block == 0 ? write_groups(context, sink) : Result<void>();
  }

  Result<TensorData> preview(PassContext& context, std::string_view name) override {
    for (std::size_t i = 0; i <= sizes_.size(); ++i) {
      if (name != matrix_.factor(static_cast<int>(i))) continue;
      KINGLET_TRY(std::vector<std::byte> bytes, make(context, i));
      return own_bytes(std::move(bytes));
    }
    return Pass::preview(context, name);
  }

 private:
  void add_groups(const PassPlan::Tensor& whole) {
    const std::int64_t rows = whole.shape[0];
    matrix_ = {std::string(kRowGroupsCodec), whole.name, rows, whole.shape[1]};
    std::int64_t left = rows, next = first_;
    for (std::int64_t g = 0; g < groups_ && left > 0; ++g) {
      sizes_.push_back(g + 1 == groups_ ? left : std::min(next, left));
      left -= sizes_.back();
      next *= factor_;
      plan_.tensors.push_back(
          {matrix_.factor(static_cast<int>(g)), whole.type, {sizes_.back(), matrix_.inputs}, whole.block});
    }
    plan_.tensors.push_back(
        {matrix_.factor(static_cast<int>(sizes_.size())), find_block_type("I8"), {rows}, whole.block});
  }

  /// The group of each row, the commonest tokens in the first.
  Result<void> sort_rows(const PassContext& context) {
    if (!group_of_.empty()) return {};
    KINGLET_TRY(const auto tokenizer, load_tokenizer(context.source->metadata()));
    KINGLET_TRY(const CalibrationOptions how, calibration_options(*context.source, kAllTokens));
    // The planner judges the groups by the rest of this text. Were they sorted by it, too, rare tokens would seem never
    // to be read.
    KINGLET_TRY(const auto windows, calibration_windows(*tokenizer, sensitivity_text(context.text).calibration, how));
    std::vector<double> counts(static_cast<std::size_t>(matrix_.outputs));
    for (const auto& text : windows)
      for (const TokenId id : text)
        if (id >= 0 && id < matrix_.outputs) counts[static_cast<std::size_t>(id)] += 1;
    count_unseen(counts);
    std::vector<std::size_t> order(counts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return counts[a] != counts[b] ? counts[a] > counts[b] : a < b; });
    group_of_.resize(order.size());
    std::size_t at = 0;
    for (std::size_t g = 0; g < sizes_.size(); ++g)
      for (std::int64_t i = 0; i < sizes_[g]; ++i) group_of_[order[at++]] = static_cast<std::byte>(g);
    return {};
  }

  /// Rows of a group, or the groups of all rows.
  Result<std::vector<std::byte>> make(const PassContext& context, std::size_t factor) {
    KINGLET_CHECK(sort_rows(context));
    if (factor == sizes_.size()) return group_of_;
    const TensorInfo& info = *context.source->find(kEmbedding);
    KINGLET_TRY(const TensorData data, context.source->data(info));
    const std::uint64_t row_bytes = info.type->row_bytes(static_cast<std::uint64_t>(info.columns()));
    std::vector<std::byte> rows;
    rows.reserve(static_cast<std::size_t>(sizes_[factor]) * row_bytes);
    for (std::size_t row = 0; row < group_of_.size(); ++row) {
      if (group_of_[row] != static_cast<std::byte>(factor)) continue;
      const auto from = data.bytes.subspan(row * row_bytes, row_bytes);
      rows.insert(rows.end(), from.begin(), from.end());
    }
    return rows;
  }

  Result<void> write_groups(PassContext& context, TensorSink& sink) {
    for (std::size_t i = 0; i <= sizes_.size(); ++i) {
      const std::string name = matrix_.factor(static_cast<int>(i));
      if (sink.finished(name)) continue;
      KINGLET_TRY(const std::vector<std::byte> bytes, make(context, i));
      KINGLET_CHECK(sink.put(name, bytes));
    }
    return {};
  }

  std::int64_t groups_, first_, factor_;
  FactoredMatrix matrix_;
  std::vector<std::int64_t> sizes_;
  std::vector<std::byte> group_of_;  ///< of each row; empty until it is asked for
  PassPlan plan_;
};

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions&) {
  const TensorInfo* embedding = checkpoint.find(kEmbedding);
  if (embedding == nullptr || embedding->shape.size() != 2)
    return fail(ErrorCode::kUnsupported, "this model has no token_embd.weight that is one matrix");
  if (!is_encoder(checkpoint))
    return fail(ErrorCode::kUnsupported, "row_groups is for encoders, whose embedding multiplies nothing");
  return {};
}

Result<std::unique_ptr<Pass>> make(const PassOptions& options) { return std::make_unique<RowGroups>(options); }

}  // namespace

extern const PassDescriptor pass_row_groups = {
    .name = "row_groups",
    .paper = "",
    .help = "Sorts an embedding's rows into groups by the tokens' frequency, so that common tokens may have more bits",
    .applicability = "encoders; before a step that chooses types",
    .options = kOptions,
    .accepts = accepts,
    .make = make,
    .stage = PassStage::kStructure,
    .prepares = true,
};

}  // namespace kinglet
