#include "tensor/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kinglet {

namespace isa_scalar {
extern const ElementwiseKernels elementwise_table;
}
namespace isa_avx2 {
extern const ElementwiseKernels elementwise_table;
}
namespace isa_avx512 {
extern const ElementwiseKernels elementwise_table;
}
namespace isa_neon {
extern const ElementwiseKernels elementwise_table;
}

const ElementwiseKernels* elementwise_kernels(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return &isa_scalar::elementwise_table;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return &isa_avx2::elementwise_table;
    case Isa::kAvx512:
      return &isa_avx512::elementwise_table;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return &isa_neon::elementwise_table;
#endif
    default:
      return nullptr;
  }
}

const ElementwiseKernels& elementwise() {
  static const ElementwiseKernels& table = *elementwise_kernels(active_isa());
  return table;
}

void LogSumExp::add(const float* x, std::int64_t n) {
  constexpr std::int64_t kBlock = 4096;
  const ElementwiseKernels& kernels = elementwise();
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, n - begin);
    const float highest = kernels.maximum(x + begin, count);
    if (highest == -std::numeric_limits<float>::infinity()) continue;
    if (highest > maximum_) {
      sum_ *= std::exp(static_cast<double>(maximum_) - static_cast<double>(highest));
      maximum_ = highest;
    }
    sum_ += static_cast<double>(kernels.exp_sum(x + begin, maximum_, count));
  }
}

double LogSumExp::value() const { return static_cast<double>(maximum_) + std::log(sum_); }

}  // namespace kinglet
