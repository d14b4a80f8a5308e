// Matrices into block types with error compensation: each matrix is rounded on the inputs that the rounded model before
// it gives on calibration text, its rounding errors make up for each other (GPTQ, arXiv 2210.17323, as QuIP's LDLQ),
// and its targets make up for what was lost before it (GPTAQ, arXiv 2504.02692).
#include <algorithm>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/quantize/sequential.h"
#include "compress/type_rules.h"
#include "kinglet/convert.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "kinglet/linear.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr PassOption kOptions[] = {
    {.name = "type", .value_name = "T", .help = "Type of the matrices (q8_0, q6_k, q4_k, ...); without it they stay"},
    {.name = "tensors",
     .kind = PassOptionKind::kMap,
     .value_name = "PATTERN: T",
     .help = "Types of tensors by name; * stands for any text, and the last pattern that matches counts"},
    {.name = "tokens",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of calibration text (fewer for very wide models)",
     .fallback = "16384",
     .min = 16,
     .max = 1 << 24},
    {.name = "damping",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Added to the diagonal of the second moments, as a share of its mean",
     .fallback = "0.2",
     .min = 1e-6,
     .max = 10},
    {.name = "correction",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "How much of what was lost before a matrix it has to make up for; 0 is plain GPTQ",
     .fallback = "1",
     .min = 0,
     .max = 1},
    {.name = "sweeps",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Times that codes and scales are improved after the first rounding",
     .fallback = "2",
     .min = 0,
     .max = 100},
    {.name = "search",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help =
         "Generations of an evolutionary search over types, from what was planned for a target, or from `type` at its "
         "bytes",
     .fallback = "0",
     .min = 0,
     .max = 100000},
    kAmongOption,
};

constexpr std::uint64_t kMostRowBytes = 1 << 30;
constexpr std::uint64_t kOverhead = 48 << 20;  // program, tokenizer, a sequence's cache

/// The framework's sink as a store.
class SinkStore final : public RoundedStore {
 public:
  explicit SinkStore(TensorSink& sink) : sink_(sink) {}
  bool finished(std::string_view name) const override { return sink_.finished(name); }
  Result<std::vector<std::byte>> read(std::string_view name) const override { return sink_.read(name); }
  Result<void> put(RoundedMatrix matrix) override { return sink_.put(matrix.name, matrix.bytes); }

 private:
  TensorSink& sink_;
};

/// What an earlier run has made, where nothing is to be written.
class FinishedStore final : public RoundedStore {
 public:
  explicit FinishedStore(const TensorSink& sink) : sink_(sink) {}
  bool finished(std::string_view name) const override { return sink_.finished(name); }
  Result<std::vector<std::byte>> read(std::string_view name) const override { return sink_.read(name); }
  Result<void> put(RoundedMatrix matrix) override {
    return fail(ErrorCode::kInternal, matrix.name + " was said to be finished");
  }

 private:
  const TensorSink& sink_;
};

class Gptq final : public Pass {
 public:
  Gptq(TypeRules rules, const PassOptions& options) : rules_(std::move(rules)) {
    tokens_ = static_cast<std::size_t>(options.integer("tokens"));
    settings_.damping = options.number("damping");
    settings_.correction = options.number("correction");
    settings_.rounding.sweeps = static_cast<int>(options.integer("sweeps"));
  }

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(plan_, rules_.plan(context));
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      const TensorInfo& info = *context.source->find(tensor.name);
      KINGLET_TRY(const bool rounded, is_rounded(*context.source, tensor));
      if (tensor.type != info.type && rounded) types_[tensor.name] = tensor.type;
    }
    plan_fits(*context.source);
    const SequentialMemory memory = sequential_memory(*context.source, types_, settings_);
    // The same wherever it runs: so many tokens that their hidden rows stay below a GiB.
    if (memory.row > 0) tokens_ = std::min<std::size_t>(tokens_, std::max<std::size_t>(kMostRowBytes / memory.row, 16));
    plan_.memory_bytes = kOverhead + memory.total(tokens_);
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      if (tensor.block != block || types_.contains(tensor.name) || settings_.fitted.contains(tensor.name) ||
          sink.finished(tensor.name))
        continue;
      KINGLET_CHECK(copy_tensor(context, tensor, sink));
    }
    SinkStore store(sink);
    return work(context, block, store);
  }

  Result<void> skip(PassContext& context, int block, const TensorSink& sink) override {
    FinishedStore store(sink);
    return work(context, block, store);
  }

 private:
  /// Of encoders whose layers have all their own: norms, biases and tables.
  void plan_fits(const Checkpoint& source) {
    if (!is_encoder(source) || types_.empty() || source.metadata().contains(kLayerMapKey)) return;
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (is_fitted(tensor.name)) settings_.fitted[tensor.name] = tensor.type;
  }

  /// Whether it is rounded with compensation: other tensors go through plain rounding.
  static Result<bool> is_rounded(const Checkpoint& source, const PassPlan::Tensor& tensor) {
    if (tensor.type->form.bits == 0) return false;
    const bool in_layer = tensor.name.starts_with("blk.");
    if (const std::string_view matrix = matrix_of_factor(tensor.name); !matrix.empty()) {
      KINGLET_TRY(const auto factored, find_factored(source.metadata(), matrix));
      const FactorForm form = factored ? factor_form(*factored) : FactorForm::kOwn;
      return form == FactorForm::kRows ? is_encoder(source) : in_layer && form == FactorForm::kProduct;
    }
    return in_layer || tensor.name == "token_embd.weight" || tensor.name == "output.weight";
  }

  Result<void> work(PassContext& context, int block, RoundedStore& store) {
    if (types_.empty()) return {};
    if (!rounding_) {
      KINGLET_TRY(const auto tokenizer, load_tokenizer(context.source->metadata()));
      KINGLET_TRY(const CalibrationOptions how, calibration_options(*context.source, tokens_));
      KINGLET_TRY(auto windows, calibration_windows(*tokenizer, context.text, how));
      KINGLET_TRY(rounding_, SequentialRounding::create(*context.source, std::move(windows), context.pool->size()));
      rounding_->start(types_, settings_);
    }
    if (block == 0) return rounding_->embedding(store);
    const int layers = layer_count(*context.source);
    return block <= layers ? rounding_->layer(block - 1, store) : rounding_->head(store);
  }

  TypeRules rules_;
  std::size_t tokens_ = 0;
  SequentialOptions settings_;
  PassPlan plan_;
  TypePlan types_;
  std::unique_ptr<SequentialRounding> rounding_;
};

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions&) {
  if (tensors_of(checkpoint, "token_embd.weight").empty() || layer_count(checkpoint) == 0) {
    return fail(ErrorCode::kUnsupported, "gptq runs the model on calibration text, and this is no language model",
                "The pass quantize works on any tensors.");
  }
  return {};
}

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  KINGLET_TRY(auto rules, TypeRules::make(options));
  return std::make_unique<Gptq>(std::move(rules), options);
}

}  // namespace

extern const PassDescriptor pass_gptq = {
    .name = "gptq",
    .paper = "",
    .help = "Stores matrices in block types of 2 to 8 bits, rounded so that the model's outputs stay",
    .applicability = "models that Kinglet runs; needs calibration text (there is a built-in one)",
    .options = kOptions,
    .accepts = accepts,
    .make = make,
    .compensates = true,
};

}  // namespace kinglet
