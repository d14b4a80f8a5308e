// exp, tanh, erfc on sixteen lanes, in one written order. Included after a lanes_*.h with KINGLET_ISA naming its
// namespace. The coefficients are minimax fits (Lawson's iteration on 4,000 Chebyshev nodes, weights as noted).
#pragma once

namespace kinglet::KINGLET_ISA {

/// e^x for x <= 0, NaN kept, results below 2^-126 are 0. r = x - n ln 2 in [-0.347, 0.347], n from the low bits of a
/// sum with 1.5 * 2^23; e^r = 1 + r + r^2 P(r), relative error of P's fit 3e-9.
KINGLET_INLINE V exp_not_positive(V x) {
  const V magic = set1(12582912.0f);
  const V t = fma(x, set1(1.44269504f), magic);
  const V n = sub(t, magic);
  V r = fma(n, set1(-0.693359375f), x);  // 355/512: n * it is exact
  r = fma(n, set1(2.12194440e-4f), r);
  V p = set1(0x1.6a2314p-10f);
  p = fma(p, r, set1(0x1.123a8ep-7f));
  p = fma(p, r, set1(0x1.5558f6p-5f));
  p = fma(p, r, set1(0x1.555490p-3f));
  p = fma(p, r, set1(0x1.fffffcp-2f));
  p = fma(mul(r, r), p, r);
  p = add(p, set1(1.0f));
  return select(less(x, set1(-87.33654f)), zero(), scale_exponent(p, t));
}

KINGLET_INLINE V exp_any(V x) {
  const V limit = set1(88.72283f);  // the largest float whose exponential is finite
  return select(less(limit, x), set1(__builtin_inff()), exp_not_positive(vmin(limit, x)));
}

KINGLET_INLINE V negate(V x) { return sub(set1(-0.0f), x); }

/// Below 0.625 x + x z P(z) with z = x^2, else 1 - 2 / (e^2x + 1).
KINGLET_INLINE V tanh_any(V x) {
  const V a = vabs(x), z = mul(x, x);
  V p = set1(-0.005717036314308643f);
  p = fma(p, z, set1(0.020650578662753105f));
  p = fma(p, z, set1(-0.05374349653720856f));
  p = fma(p, z, set1(0.13331490755081177f));
  p = fma(p, z, set1(-0.3333328366279602f));
  const V small = fma(mul(a, z), p, a);
  const V large = sub(set1(1.0f), div(set1(2.0f), add(exp_any(add(a, a)), set1(1.0f))));
  return copy_sign(select(less(a, set1(0.625f)), small, large), x);
}

/// erfc(a) for a >= 0: t e^(P(t) - a^2), t = 1 / (1 + a/2) (the form of Numerical Recipes, own fit: 5e-8 for a <= 11).
KINGLET_INLINE V erfc_not_negative(V a) {
  const V t = div(set1(1.0f), fma(a, set1(0.5f), set1(1.0f)));
  V p = set1(0.148854598402977f);
  p = fma(p, t, set1(-0.7024875283241272f));
  p = fma(p, t, set1(1.2084853649139404f));
  p = fma(p, t, set1(-0.7663180232048035f));
  p = fma(p, t, set1(-0.02121484838426113f));
  p = fma(p, t, set1(-0.030777720734477043f));
  p = fma(p, t, set1(0.045751187950372696f));
  p = fma(p, t, set1(0.3842516839504242f));
  p = fma(p, t, set1(0.9989176392555237f));
  p = fma(p, t, set1(-1.2654623985290527f));
  return mul(t, exp_any(fma(negate(a), a, p)));
}

KINGLET_INLINE V silu_of(V x) { return div(x, add(set1(1.0f), exp_any(negate(x)))); }

/// x/2 (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
KINGLET_INLINE V gelu_tanh_of(V x) {
  const V inner = mul(x, fma(mul(x, x), set1(0.044715f), set1(1.0f)));
  return div(x, add(set1(1.0f), exp_any(mul(inner, set1(-1.5957691216f)))));
}

/// x * Phi(x); the negative tail keeps its relative accuracy.
KINGLET_INLINE V gelu_of(V x) {
  const V tail = mul(set1(0.5f), erfc_not_negative(mul(vabs(x), set1(0.70710678f))));
  return mul(x, select(less(x, zero()), tail, sub(set1(1.0f), tail)));
}

}  // namespace kinglet::KINGLET_ISA
