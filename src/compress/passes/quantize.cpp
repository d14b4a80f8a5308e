// Matrices into block types: one type for all, and others for the tensors that patterns name.
#include <algorithm>

#include "base/try.h"
#include "kinglet/convert.h"
#include "kinglet/pass.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

constexpr PassOption kOptions[] = {
    {.name = "type", .placeholder = "T", .help = "Type of the matrices (q8_0, q6_k, q4_k, ...); without it they stay"},
    {.name = "tensors",
     .kind = PassOptionKind::kMap,
     .placeholder = "PATTERN: T",
     .help = "Types of tensors by name; * stands for any text, and the last pattern that matches counts"},
};

Result<const BlockType*> writable_type(const std::string& name, std::string place) {
  const BlockType* type = find_block_type(name);
  if (type && type->encode) return type;
  std::string known;
  for (const BlockType* each : block_types())
    if (each->encode) known += (known.empty() ? "" : ", ") + std::string(each->name);
  return fail(ErrorCode::kInvalidArgument,
              type ? "the type " + std::string(type->name) + " can be read but not written"
                   : "there is no type '" + printable(name) + "'",
              "Types: " + known + ".", std::move(place));
}

class Quantize final : public Pass {
 public:
  struct Rule {
    std::string pattern;
    const BlockType* type;
    int line;
  };
  Quantize(const BlockType* type, std::vector<Rule> rules, std::string place)
      : type_(type), rules_(std::move(rules)), place_(std::move(place)) {}

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(plan_, copying_plan(context));
    std::vector<bool> used(rules_.size(), false);
    for (PassPlan::Tensor& tensor : plan_.tensors) {
      const TensorInfo& info = *context.source->find(tensor.name);
      if (type_ && tensor.shape.size() >= 2) tensor.type = converted_type(info, *type_);
      for (std::size_t i = 0; i < rules_.size(); ++i) {
        if (!matches_pattern(rules_[i].pattern, tensor.name) || tensor.shape.size() < 2) continue;
        tensor.type = converted_type(info, *rules_[i].type);
        used[i] = true;
      }
    }
    for (std::size_t i = 0; i < rules_.size(); ++i)
      if (!used[i])
        return fail(ErrorCode::kInvalidArgument, "no matrix of this model matches '" + rules_[i].pattern + "'",
                    "kinglet inspect MODEL lists the names.", place_);
    const bool blocks = std::any_of(plan_.tensors.begin(), plan_.tensors.end(),
                                    [](const auto& tensor) { return tensor.type->block_values > 1; });
    if (blocks) plan_.metadata.set_integer("general.quantization_version", 2);
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (tensor.block == block) KINGLET_CHECK(copy_tensor(context, tensor, sink));
    return {};
  }

 private:
  const BlockType* type_;
  std::vector<Rule> rules_;
  std::string place_;
  PassPlan plan_;
};

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  const BlockType* type = nullptr;
  if (options.given("type")) {
    KINGLET_TRY(type, writable_type(options.text("type"), options.place("type")));
  }
  std::vector<Quantize::Rule> rules;
  if (const RecipeNode* patterns = options.node("tensors")) {
    for (std::size_t i = 0; i < patterns->keys.size(); ++i) {
      KINGLET_TRY(const BlockType* each, writable_type(patterns->items[i].text, options.place("tensors")));
      rules.push_back({patterns->keys[i], each, patterns->items[i].line});
    }
  }
  return std::make_unique<Quantize>(type, std::move(rules), options.place("tensors"));
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
