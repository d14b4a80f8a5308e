#include "kinglet/linear.h"

namespace kinglet {

Result<std::unique_ptr<Linear>> make_linear(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  for (const LinearDescriptor* linear : linears()) {
    if (linear->accepts(checkpoint, tensor)) return linear->make(checkpoint, tensor);
  }
  return fail(ErrorCode::kUnsupported,
              "no way to multiply " + tensor.name + ", stored as " + std::string(tensor.type->name),
              "`kinglet convert` can store it in another type.");
}

}  // namespace kinglet
