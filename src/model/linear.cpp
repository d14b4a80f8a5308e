#include "kinglet/linear.h"

#include "base/try.h"
#include "model/format/validate.h"

namespace kinglet {

Result<std::unique_ptr<Linear>> make_linear(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  for (const LinearDescriptor* linear : linears()) {
    if (linear->accepts != nullptr && linear->accepts(checkpoint, tensor)) return linear->make(checkpoint, tensor);
  }
  return fail(ErrorCode::kUnsupported,
              "no way to multiply " + tensor.name + ", stored as " + std::string(tensor.type->name),
              "`kinglet convert` can store it in another type.");
}

Result<std::unique_ptr<Linear>> make_linear(const Checkpoint& checkpoint, std::string_view name) {
  KINGLET_TRY(const auto factored, find_factored(checkpoint.metadata(), name));
  const TensorInfo* tensor = checkpoint.find(name);
  if (!factored) {
    if (tensor == nullptr) return fail(ErrorCode::kCorrupt, "the tensor " + std::string(name) + " is missing");
    return make_linear(checkpoint, *tensor);
  }
  if (tensor != nullptr) {
    return fail(ErrorCode::kCorrupt, std::string(name) + " stands in " + std::string(kFactorsKey) + " and is a tensor");
  }
  std::string known;
  for (const LinearDescriptor* linear : linears()) {
    if (linear->codec.empty()) continue;
    known += (known.empty() ? "" : ", ") + std::string(linear->codec);
    if (linear->codec != factored->codec) continue;
    KINGLET_TRY(auto made, linear->make_factored(checkpoint, *factored, factors_of(checkpoint, *factored)));
    if (made->outputs() == factored->outputs && made->inputs() == factored->inputs) return made;
    return fail(ErrorCode::kCorrupt, "the factors of " + std::string(name) + " give " +
                                         std::to_string(made->outputs()) + " x " + std::to_string(made->inputs()) +
                                         ", " + std::string(kFactorsKey) + " says " +
                                         std::to_string(factored->outputs) + " x " + std::to_string(factored->inputs));
  }
  return fail(ErrorCode::kUnsupported,
              std::string(name) + " is stored as '" + printable(factored->codec) + "', which is not known",
              "Known: " + known + ". The file was made by a newer Kinglet, or is damaged.");
}

FactorForm factor_form(const FactoredMatrix& matrix) {
  for (const LinearDescriptor* linear : linears())
    if (!linear->codec.empty() && linear->codec == matrix.codec) return linear->factor_form;
  return FactorForm::kOwn;
}

std::vector<Linear*> packed_parts(Linear& linear) {
  if (linear.parts().empty()) return {&linear};
  std::vector<Linear*> all;
  for (const auto& part : linear.parts()) {
    for (Linear* each : packed_parts(*part)) all.push_back(each);
  }
  return all;
}

}  // namespace kinglet
