// The steps between the matrix products: norms, activations, rotary embedding, residual sums, reductions. One table of
// functions an instruction set; every set gives the same bits (sixteen virtual lanes, sums by one fixed tree, products
// fused only where written, own exp/tanh/erf polynomials).
//
// Vectors are f32 and contiguous; n may be any count >= 0. `out` may be an input of the same index, otherwise nothing
// may overlap. Nothing allocates. All functions may run on many threads.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace kinglet {

struct ElementwiseKernels {
  /// out = x / sqrt(mean(x^2) + eps) * weight. `weight` may be null: ones.
  void (*rms_norm)(const float* x, const float* weight, std::int64_t n, float eps, float* out);
  /// out = (x - mean) / sqrt(variance + eps) * weight + bias. `bias` may be null.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, std::int64_t n, float eps, float* out);

  void (*add)(const float* a, const float* b, std::int64_t n, float* out);                    ///< a + b: residual, bias
  void (*multiply_add)(const float* a, const float* b, float s, std::int64_t n, float* out);  ///< fma(b, s, a)
  void (*multiply)(const float* a, const float* b, std::int64_t n, float* out);               ///< a * b
  void (*scale)(const float* x, float s, std::int64_t n, float* out);                         ///< x * s
  void (*softcap)(const float* x, float cap, std::int64_t n, float* out);                     ///< cap * tanh(x / cap)

  void (*silu)(const float* x, std::int64_t n, float* out);  ///< x / (1 + e^-x)
  void (*gelu_tanh)(const float* x, std::int64_t n, float* out);
  void (*gelu)(const float* x, std::int64_t n, float* out);                          ///< by erf
  void (*silu_mul)(const float* gate, const float* up, std::int64_t n, float* out);  ///< silu(gate) * up
  void (*gelu_tanh_mul)(const float* gate, const float* up, std::int64_t n, float* out);
  void (*gelu_mul)(const float* gate, const float* up, std::int64_t n, float* out);

  void (*exp)(const float* x, std::int64_t n, float* out);   ///< <= 2 ulp; below 2^-126: 0
  void (*tanh)(const float* x, std::int64_t n, float* out);  ///< <= 4 ulp
  void (*erf)(const float* x, std::int64_t n, float* out);   ///< absolute error <= 4e-7

  /// Rotates pairs of one head in place by the angles of its position: cosine and sine have `half` values each, values
  /// from 2 * half on stay. Pairs: (x[2i], x[2i+1]), as llama's GGUF has them. Halves: (x[i], x[i+half]), NEOX.
  void (*rope_pairs)(float* x, const float* cosine, const float* sine, std::int64_t half);
  void (*rope_halves)(float* x, const float* cosine, const float* sine, std::int64_t half);

  float (*sum)(const float* x, std::int64_t n);
  float (*maximum)(const float* x, std::int64_t n);               ///< NaN is passed over; -infinity for n = 0
  std::int64_t (*arg_max)(const float* x, std::int64_t n);        ///< the lowest index of the maximum; 0 if all are NaN
  float (*exp_sum)(const float* x, float shift, std::int64_t n);  ///< sum of e^(x - shift)
};

/// Null where the set is not built into this program. Choosing one that the machine lacks is the caller's fault.
const ElementwiseKernels* elementwise_kernels(Isa isa);

/// The table of active_isa().
const ElementwiseKernels& elementwise();

/// log(sum(e^x)) of many values, kept while they come: blocks of at most 4,096 are summed in f32, blocks in f64.
class LogSumExp {
 public:
  void add(const float* x, std::int64_t n);
  double value() const;  ///< -infinity before the first value

 private:
  float maximum_ = -__builtin_inff();
  double sum_ = 0;
};

}  // namespace kinglet
