#include "compress/type_rules.h"

#include <algorithm>

#include "base/try.h"
#include "kinglet/convert.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

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

}  // namespace

void leave_out_foreign_tokenizer(const Checkpoint& source, Metadata& metadata) {
  if (!metadata.contains("tokenizer.huggingface.json")) return;
  std::vector<std::string> added;
  for (const auto& [key, value] : metadata.entries())
    if (key.starts_with("tokenizer.ggml.") && !source.metadata().contains(key)) added.push_back(key);
  for (const std::string& key : added) metadata.erase(key);
}

Result<std::vector<const BlockType*>> types_among(const PassOptions& options) {
  std::vector<const BlockType*> types;
  if (const RecipeNode* among = options.node("among")) {
    for (const RecipeNode& each : among->items) {
      KINGLET_TRY(types.emplace_back(), writable_type(each.text, options.place("among")));
    }
    if (types.empty())
      return fail(ErrorCode::kInvalidArgument, "the list of types to choose from is empty", "", options.place("among"));
  }
  return types;
}

Result<TypeRules> TypeRules::make(const PassOptions& options) {
  TypeRules made;
  KINGLET_CHECK(types_among(options));  // only to be told of mistakes
  made.place_ = options.place("tensors");
  if (options.given("type")) {
    KINGLET_TRY(made.type_, writable_type(options.text("type"), options.place("type")));
  }
  if (const RecipeNode* patterns = options.node("tensors")) {
    for (std::size_t i = 0; i < patterns->keys.size(); ++i) {
      KINGLET_TRY(const BlockType* each, writable_type(patterns->items[i].text, options.place("tensors")));
      made.rules_.push_back({patterns->keys[i], each});
    }
  }
  return made;
}

Result<PassPlan> TypeRules::plan(const PassContext& context) const {
  KINGLET_TRY(PassPlan plan, copying_plan(context));
  std::vector<bool> used(rules_.size(), false);
  bool changed = false;
  for (PassPlan::Tensor& tensor : plan.tensors) {
    const TensorInfo& info = *context.source->find(tensor.name);
    if (type_ && tensor.shape.size() >= 2) tensor.type = converted_type(info, *type_);
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (!matches_pattern(rules_[i].pattern, tensor.name) || tensor.shape.size() < 2) continue;
      tensor.type = converted_type(info, *rules_[i].type);
      // Tables that are looked up by position keep their type beside others, but not where they are asked for by name.
      if (rules_[i].pattern == tensor.name)
        if (const BlockType* fitting = fitting_block_type(*rules_[i].type, info.columns())) tensor.type = fitting;
      used[i] = true;
    }
    changed = changed || (tensor.shape.size() >= 2 && tensor.type != info.type);
  }
  for (std::size_t i = 0; i < rules_.size(); ++i)
    if (!used[i])
      return fail(ErrorCode::kInvalidArgument, "no matrix of this model matches '" + rules_[i].pattern + "'",
                  "kinglet inspect MODEL lists the names.", place_);
  const bool blocks = std::any_of(plan.tensors.begin(), plan.tensors.end(),
                                  [](const auto& tensor) { return tensor.type->block_values > 1; });
  if (blocks) plan.metadata.set_integer("general.quantization_version", 2);
  const bool native = std::any_of(plan.tensors.begin(), plan.tensors.end(),
                                  [](const PassPlan::Tensor& tensor) { return tensor.type->is_native; });
  if (native) leave_out_foreign_tokenizer(*context.source, plan.metadata);
  // The number of the source's main type would mislead other tools; without it they look at the tensors.
  if (changed) plan.metadata.erase("general.file_type");
  return plan;
}

}  // namespace kinglet
