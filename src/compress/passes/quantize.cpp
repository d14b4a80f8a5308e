// Matrices into block types: one type for all, and others for the tensors that patterns name.
#include "base/try.h"
#include "compress/type_rules.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr PassOption kOptions[] = {
    {.name = "type", .value_name = "T", .help = "Type of the matrices (q8_0, q6_k, q4_k, ...); without it they stay"},
    {.name = "tensors",
     .kind = PassOptionKind::kMap,
     .value_name = "PATTERN: T",
     .help = "Types of tensors by name; * stands for any text, and the last pattern that matches counts"},
    kAmongOption,
};

class Quantize final : public Pass {
 public:
  explicit Quantize(TypeRules rules) : rules_(std::move(rules)) {}

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(plan_, rules_.plan(context));
    plan_.memory_bytes = streaming_memory(*context.pool);
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (tensor.block == block) KINGLET_CHECK(copy_tensor(context, tensor, sink));
    return {};
  }

 private:
  TypeRules rules_;
  PassPlan plan_;
};

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  KINGLET_TRY(auto rules, TypeRules::make(options));
  return std::make_unique<Quantize>(std::move(rules));
}

}  // namespace

extern const PassDescriptor pass_quantize = {
    .name = "quantize",
    .paper = "",
    .help = "Stores matrices in block types of 2 to 8 bits",
    .applicability =
        "every model; matrices whose rows are whole blocks of the type, others get the next type that fits",
    .options = kOptions,
    .make = make,
};

}  // namespace kinglet
