// The body of ElementwiseKernels, compiled once an instruction set (see math-inl.h). No standard containers or inline
// library functions: a copy of them compiled for a newer processor could win at link time.
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/math-inl.h"

namespace kinglet::KINGLET_ISA {
namespace {

/// out[i] = operation(a[i]).
template <typename Operation>
KINGLET_INLINE void map(const float* a, std::int64_t n, float* out, Operation operation) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, operation(load(a + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_n(out + i, operation(load_n(a + i, rest)), rest);
}

/// out[i] = operation(a[i], b[i]).
template <typename Operation>
KINGLET_INLINE void map(const float* a, const float* b, std::int64_t n, float* out, Operation operation) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, operation(load(a + i), load(b + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_n(out + i, operation(load_n(a + i, rest), load_n(b + i, rest)), rest);
}

/// accumulator = operation(accumulator, x[i]) in sixteen lanes; lanes past the end get `filler`.
template <typename Operation>
KINGLET_INLINE V fold(const float* x, std::int64_t n, V accumulator, V filler, Operation operation) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) accumulator = operation(accumulator, load(x + i));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) accumulator = operation(accumulator, select(lane_range(0, rest), load_n(x + i, rest), filler));
  return accumulator;
}

void rms_norm(const float* x, const float* weight, std::int64_t n, float eps, float* out) {
  const float squares = sum(fold(x, n, zero(), zero(), [](V a, V v) { return fma(v, v, a); }));
  const V factor = set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  if (weight == nullptr)
    map(x, n, out, [factor](V v) { return mul(v, factor); });
  else
    map(x, weight, n, out, [factor](V v, V w) { return mul(mul(v, factor), w); });
}

void layer_norm(const float* x, const float* weight, const float* bias, std::int64_t n, float eps, float* out) {
  const float mean = sum(fold(x, n, zero(), zero(), [](V a, V v) { return add(a, v); })) / static_cast<float>(n);
  const V centre = set1(mean);
  const float squares = sum(fold(x, n, zero(), centre, [centre](V a, V v) {
    const V d = sub(v, centre);
    return fma(d, d, a);
  }));
  const V factor = set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  map(x, weight, n, out, [centre, factor](V v, V w) { return mul(mul(sub(v, centre), factor), w); });
  if (bias != nullptr) map(out, bias, n, out, [](V v, V b) { return add(v, b); });
}

void add_vectors(const float* a, const float* b, std::int64_t n, float* out) {
  map(a, b, n, out, [](V x, V y) { return add(x, y); });
}
void multiply_add(const float* a, const float* b, float s, std::int64_t n, float* out) {
  const V factor = set1(s);
  map(a, b, n, out, [factor](V x, V y) { return fma(y, factor, x); });
}
void multiply(const float* a, const float* b, std::int64_t n, float* out) {
  map(a, b, n, out, [](V x, V y) { return mul(x, y); });
}
void scale(const float* x, float s, std::int64_t n, float* out) {
  const V factor = set1(s);
  map(x, n, out, [factor](V v) { return mul(v, factor); });
}
void softcap(const float* x, float cap, std::int64_t n, float* out) {
  const V c = set1(cap), inverse = set1(1.0f / cap);
  map(x, n, out, [c, inverse](V v) { return mul(c, tanh_any(mul(v, inverse))); });
}

void silu(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return silu_of(v); });
}
void gelu_tanh(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return gelu_tanh_of(v); });
}
void gelu(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return gelu_of(v); });
}
void silu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  map(gate, up, n, out, [](V g, V u) { return mul(silu_of(g), u); });
}
void gelu_tanh_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  map(gate, up, n, out, [](V g, V u) { return mul(gelu_tanh_of(g), u); });
}
void gelu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  map(gate, up, n, out, [](V g, V u) { return mul(gelu_of(g), u); });
}
void exp_vector(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return exp_any(v); });
}
void tanh_vector(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return tanh_any(v); });
}
void erf_vector(const float* x, std::int64_t n, float* out) {
  map(x, n, out, [](V v) { return copy_sign(sub(set1(1.0f), erfc_not_negative(vabs(v))), v); });
}

/// Even lanes fma(x1, -s, x0 c), odd lanes fma(x0, s, x1 c): the products of rope_halves in the same order.
KINGLET_INLINE V rotate_pairs(V x, V c, V s) { return fma(swap_pairs(x), negate_even(s), mul(x, c)); }

void rope_pairs(float* x, const float* cosine, const float* sine, std::int64_t half) {
  std::int64_t i = 0;
  for (; i + 8 <= half; i += 8)
    store(x + 2 * i, rotate_pairs(load(x + 2 * i), load_twice(cosine + i), load_twice(sine + i)));
  const int rest = static_cast<int>(half - i);
  if (rest == 0) return;
  float c[16], s[16];
  store(c, load_n(cosine + i, rest));
  store(s, load_n(sine + i, rest));
  store_n(x + 2 * i, rotate_pairs(load_n(x + 2 * i, 2 * rest), load_twice(c), load_twice(s)), 2 * rest);
}

void rope_halves(float* x, const float* cosine, const float* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; i += 16) {
    const int n = half - i < 16 ? static_cast<int>(half - i) : 16;
    const V c = load_n(cosine + i, n), s = load_n(sine + i, n);
    const V low = load_n(x + i, n), high = load_n(x + half + i, n);
    store_n(x + i, fma(high, negate(s), mul(low, c)), n);
    store_n(x + half + i, fma(low, s, mul(high, c)), n);
  }
}

float sum_vector(const float* x, std::int64_t n) {
  return sum(fold(x, n, zero(), zero(), [](V a, V v) { return add(a, v); }));
}

float maximum_vector(const float* x, std::int64_t n) {
  const V lowest = set1(-__builtin_inff());
  return maximum(fold(x, n, lowest, lowest, [](V a, V v) { return vmax(v, a); }));
}

std::int64_t arg_max(const float* x, std::int64_t n) {
  constexpr std::int64_t kBlock = 1024;  // only the block of the maximum is searched value by value
  float highest = -__builtin_inff();
  std::int64_t found = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const float top = maximum_vector(x + begin, n - begin < kBlock ? n - begin : kBlock);
    if (top > highest) highest = top, found = begin;
  }
  for (std::int64_t i = found; i < n; ++i)
    if (x[i] == highest) return i;
  return 0;
}

float exp_sum(const float* x, float shift, std::int64_t n) {
  const V centre = set1(shift);
  return sum(
      fold(x, n, zero(), set1(-__builtin_inff()), [centre](V a, V v) { return add(a, exp_any(sub(v, centre))); }));
}

}  // namespace

extern const ElementwiseKernels elementwise_table;
const ElementwiseKernels elementwise_table = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add_vectors,
    .multiply_add = multiply_add,
    .multiply = multiply,
    .scale = scale,
    .softcap = softcap,
    .silu = silu,
    .gelu_tanh = gelu_tanh,
    .gelu = gelu,
    .silu_mul = silu_mul,
    .gelu_tanh_mul = gelu_tanh_mul,
    .gelu_mul = gelu_mul,
    .exp = exp_vector,
    .tanh = tanh_vector,
    .erf = erf_vector,
    .rope_pairs = rope_pairs,
    .rope_halves = rope_halves,
    .sum = sum_vector,
    .maximum = maximum_vector,
    .arg_max = arg_max,
    .exp_sum = exp_sum,
};

}  // namespace kinglet::KINGLET_ISA
