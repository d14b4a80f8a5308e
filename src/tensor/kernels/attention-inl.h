// The body of AttentionKernels, compiled once an instruction set (see math-inl.h).
#include "tensor/kernels/attention-store-inl.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/math-inl.h"

namespace kinglet::KINGLET_ISA {
namespace {

/// Groups (or value vectors) side by side in a register tile of R rows: the largest power of two that the registers
/// hold. One row alone takes 8, so that enough independent sums are in flight to hide the latency of an FMA.
constexpr int tile_width(int rows) {
  int width = 8;
  while (width > 1 && width * rows > kMaxAccumulators) width /= 2;
  return rows > 1 && width > 4 ? 4 : width;
}

/// Splits `rows` into nearly equal tiles of at most kMaxRows and calls tile(r, count) for each.
template <typename Tile>
KINGLET_INLINE void for_row_tiles(int rows, Tile tile) {
  const int tiles = (rows + kMaxRows - 1) / kMaxRows;
  for (int i = 0, r = 0; i < tiles; ++i) {
    const int count = (rows - r + tiles - i - 1) / (tiles - i);
    tile(r, count);
    r += count;
  }
}

/// Which group to fetch while group g is read: `distance` groups on, of this call and then of the next ones. About 16
/// KiB: less does not cover the latency of memory, more pushes groups out of the first-level cache before their turn.
/// Where a call has fewer groups, all of the next one.
struct Ahead {
  KvGroups groups, next;
  int count, distance;
  Ahead(KvGroups g, KvGroups n, int c, int group_bytes) : groups(g), next(n), count(c) {
    const int fit = 16384 / group_bytes;
    distance = fit < 2 ? 2 : fit > kKvGroups ? kKvGroups : fit;
    if (n != nullptr && distance > c) distance = c;
  }
  const std::byte* operator()(int g) const {
    g += distance;
    if (g < count) return groups[g];
    return next != nullptr && g - count < count ? next[g - count] : groups[count - 1];
  }
};

// ---- scores: q [key_length][rows] times keys [key_length][16] ----

template <typename S, int R, int G>
KINGLET_INLINE void score_step(const float* q, int at, const std::byte* const* groups, V (&sums)[R][G]) {
  V query[R];
  for (int r = 0; r < R; ++r) query[r] = set1(q[r]);
  for (int g = 0; g < G; ++g) {
    const V key = S::load(groups[g], at);
    for (int r = 0; r < R; ++r) sums[r][g] = fma(query[r], key, sums[r][g]);
  }
}

template <typename S, int R, int G, bool kPrefetch>
void score_tile(const float* q, int q_stride, int key_length, KvGroups groups_in, Ahead ahead, int g0, float* scores) {
  const std::byte* groups[G];
  const std::byte* coming[G];
  for (int g = 0; g < G; ++g) groups[g] = groups_in[g0 + g], coming[g] = ahead(g0 + g);
  V sums[R][G];
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < G; ++g) sums[r][g] = zero();
  int fetched = 0;
  const std::byte* fetch = coming[0];
  const std::byte* fetch_end = fetch + key_length / 4 * 64 * S::kBits / 8;
  int d = 0;
  for (; d + 4 <= key_length; d += 4) {
    // Group after group, so that the hardware's own prefetcher sees one stream and runs ahead of it.
    if constexpr (kPrefetch)
      for (int g = 0; g < G; ++g, fetch += 64 * S::kBits / 8) {
        if (fetch == fetch_end) {
          fetch = coming[++fetched];
          fetch_end = fetch + key_length / 4 * 64 * S::kBits / 8;
        }
        for (int line = 0; 8 * line < S::kBits; ++line) prefetch(fetch + 64 * line);
      }
    for (int u = 0; u < 4; ++u) score_step<S, R, G>(q + (d + u) * q_stride, (d + u) * 16, groups, sums);
  }
  for (; d < key_length; ++d) score_step<S, R, G>(q + d * q_stride, d * 16, groups, sums);
  for (int g = 0; g < G; ++g) {
    const V scales = S::kScaled ? load(scales_of<S>(groups[g], key_length)) : zero();
    for (int r = 0; r < R; ++r)
      store(scores + r * kKvChunk + (g0 + g) * 16, S::kScaled ? mul(sums[r][g], scales) : sums[r][g]);
  }
}

template <typename S, int R, int G>
KINGLET_INLINE void score_groups(const float* q, int q_stride, int key_length, KvGroups groups, Ahead ahead, int g0,
                                 bool first, float* scores) {
  if (first)
    score_tile<S, R, G, true>(q, q_stride, key_length, groups, ahead, g0, scores);
  else
    score_tile<S, R, G, false>(q, q_stride, key_length, groups, ahead, g0, scores);
}

template <typename S, int R>
KINGLET_INLINE void score_rows(const float* q, int q_stride, int key_length, KvGroups groups, Ahead ahead, int g0,
                               int width, bool first, float* scores) {
  constexpr int kWidth = tile_width(R);
  int g = g0;
  for (; g + kWidth <= g0 + width; g += kWidth)
    score_groups<S, R, kWidth>(q, q_stride, key_length, groups, ahead, g, first, scores);
  if constexpr (kWidth > 2)
    for (; g + 2 <= g0 + width; g += 2) score_groups<S, R, 2>(q, q_stride, key_length, groups, ahead, g, first, scores);
  for (; g < g0 + width; ++g) score_groups<S, R, 1>(q, q_stride, key_length, groups, ahead, g, first, scores);
}

template <typename S>
void scores(const float* q, int q_stride, int rows, int key_length, KvGroups groups, int count, KvGroups next,
            float* scores) {
  constexpr int kBlock = 8;  // groups whose keys stay in the first-level cache while all rows pass
  const Ahead ahead(groups, next, count, key_length * 16 * S::kBits / 8);
  for (int g = 0; g < count; g += kBlock) {
    const int width = count - g < kBlock ? count - g : kBlock;
    for_row_tiles(rows, [=](int r, int n) {
      const float* query = q + r;
      float* out = scores + r * kKvChunk;
      switch (n) {
        case 1:
          score_rows<S, 1>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
          break;
        case 2:
          score_rows<S, 2>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
          break;
        case 3:
          if constexpr (kMaxRows >= 3)
            score_rows<S, 3>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
          break;
        case 4:
          if constexpr (kMaxRows >= 4)
            score_rows<S, 4>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
          break;
        case 5:
          if constexpr (kMaxRows >= 5)
            score_rows<S, 5>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
          break;
        default:
          if constexpr (kMaxRows >= 6)
            score_rows<S, 6>(query, q_stride, key_length, groups, ahead, g, width, r == 0, out);
      }
    });
  }
}

// ---- values: weights [rows][256] times values [16 positions][value_stride] ----

template <typename S, int R, int N, bool kPrefetch>
void value_tile(const float* weights, int stride, KvGroups groups, Ahead ahead, int g0, int width, int v0, float* out) {
  V sums[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) sums[r][n] = load(out + r * stride + v0 + 16 * n);
  for (int g = g0; g < g0 + width; ++g) {
    const std::byte* group = groups[g];
    const std::byte* coming = ahead(g);
    const float* w = weights + 16 * g;
    [[maybe_unused]] float scaled[R * kKvChunk];
    if constexpr (S::kScaled) {
      const V scales = load(scales_of<S>(group, stride));
      for (int r = 0; r < R; ++r) store(scaled + r * kKvChunk, mul(load(w + r * kKvChunk), scales));
      w = scaled;
    }
    for (int p = 0; p < 16; ++p) {
      const int at = p * stride + v0;
      if constexpr (kPrefetch)
        for (int line = 0; line < N * 16 * S::kBits / 8; line += 64)
          prefetch(coming + (v0 * 16 + p * N * 16) * S::kBits / 8 + line);
      V weight[R];
      for (int r = 0; r < R; ++r) weight[r] = set1(w[r * kKvChunk + p]);
      for (int n = 0; n < N; ++n) {
        const V value = S::load_value(group, at + 16 * n);
        for (int r = 0; r < R; ++r) sums[r][n] = fma(weight[r], value, sums[r][n]);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) store(out + r * stride + v0 + 16 * n, sums[r][n]);
}

template <typename S, int R, int N>
KINGLET_INLINE void value_strip(const float* weights, int stride, KvGroups groups, Ahead ahead, int g0, int width,
                                int v0, bool first, float* out) {
  if (first)
    value_tile<S, R, N, true>(weights, stride, groups, ahead, g0, width, v0, out);
  else
    value_tile<S, R, N, false>(weights, stride, groups, ahead, g0, width, v0, out);
}

template <typename S, int R>
KINGLET_INLINE void value_rows(const float* weights, int stride, KvGroups groups, Ahead ahead, int g0, int width,
                               bool first, float* out) {
  constexpr int kWidth = tile_width(R);
  int v = 0;
  for (; v + 16 * kWidth <= stride; v += 16 * kWidth)
    value_strip<S, R, kWidth>(weights, stride, groups, ahead, g0, width, v, first, out);
  if constexpr (kWidth > 4)
    for (; v + 64 <= stride; v += 64) value_strip<S, R, 4>(weights, stride, groups, ahead, g0, width, v, first, out);
  if constexpr (kWidth > 2)
    for (; v + 32 <= stride; v += 32) value_strip<S, R, 2>(weights, stride, groups, ahead, g0, width, v, first, out);
  for (; v < stride; v += 16) value_strip<S, R, 1>(weights, stride, groups, ahead, g0, width, v, first, out);
}

template <typename S>
void values(const float* weights, int rows, int stride, KvGroups groups, int count, KvGroups next, float* out) {
  // Groups of about 16 KiB, which stay in the first-level cache while all rows and columns pass.
  const int fit = 16384 / (16 * stride * S::kBits / 8);
  const int block = fit < 1 ? 1 : fit;
  const Ahead ahead(groups, next, count, stride * 16 * S::kBits / 8);
  for (int g = 0; g < count; g += block) {
    const int width = count - g < block ? count - g : block;
    for_row_tiles(rows, [=](int r, int n) {
      const float* w = weights + r * kKvChunk;
      float* o = out + r * stride;
      switch (n) {
        case 1:
          value_rows<S, 1>(w, stride, groups, ahead, g, width, r == 0, o);
          break;
        case 2:
          value_rows<S, 2>(w, stride, groups, ahead, g, width, r == 0, o);
          break;
        case 3:
          if constexpr (kMaxRows >= 3) value_rows<S, 3>(w, stride, groups, ahead, g, width, r == 0, o);
          break;
        case 4:
          if constexpr (kMaxRows >= 4) value_rows<S, 4>(w, stride, groups, ahead, g, width, r == 0, o);
          break;
        case 5:
          if constexpr (kMaxRows >= 5) value_rows<S, 5>(w, stride, groups, ahead, g, width, r == 0, o);
          break;
        default:
          if constexpr (kMaxRows >= 6) value_rows<S, 6>(w, stride, groups, ahead, g, width, r == 0, o);
      }
    });
  }
}

// ---- softmax ----

void softmax(float* scores, int begin, int end, int first, int last, float cap, float* maximum_out, float* sum_out) {
  const V lowest = set1(-__builtin_inff());
  const int low = first > last ? end : first / 16, high = first > last ? end : last / 16 + 1;
  for (int g = begin; g < low; ++g) store(scores + 16 * g, zero());
  for (int g = high; g < end; ++g) store(scores + 16 * g, zero());
  V highest = lowest;
  const V c = set1(cap), inverse = set1(1.0f / cap);
  for (int g = low; g < high; ++g) {
    V s = load(scores + 16 * g);
    if (cap > 0) s = mul(c, tanh_any(mul(s, inverse)));
    const bool border = 16 * g < first || 16 * g + 15 > last;
    if (border) s = select(lane_range(first - 16 * g, last + 1 - 16 * g), s, lowest);
    if (border || cap > 0) store(scores + 16 * g, s);
    highest = vmax(s, highest);
  }
  const float top = maximum(highest);
  // All scores -infinity: a shift by 0 keeps their weights 0 instead of NaN.
  const V shift = set1(top == -__builtin_inff() ? 0.0f : top);
  V total = zero();
  for (int g = low; g < high; ++g) {
    const V weight = exp_not_positive(sub(load(scores + 16 * g), shift));
    store(scores + 16 * g, weight);
    total = add(total, weight);
  }
  *maximum_out = top;
  *sum_out = sum(total);
}

float exp_one(float x) {
  float lanes[16];
  store(lanes, exp_not_positive(set1(x)));
  return lanes[0];
}

void merge(float* out, float* maximum, float* sum, const float* chunk_out, float chunk_maximum, float chunk_sum,
           int value_stride) {
  if (chunk_maximum == -__builtin_inff() && chunk_sum == 0) return;
  const float top = *maximum > chunk_maximum ? *maximum : chunk_maximum;
  const float before = exp_one(*maximum - top), now = exp_one(chunk_maximum - top);
  const V a = set1(before), b = set1(now);
  for (int v = 0; v < value_stride; v += 16) store(out + v, fma(load(out + v), a, mul(load(chunk_out + v), b)));
  *sum = __builtin_fmaf(*sum, before, chunk_sum * now);
  *maximum = top;
}

/// Adding 0 makes every zero positive: the sign of one that underflowed would depend on the tile's width.
void finish(const float* out, float sum, int value_length, float* result) {
  const V inverse = set1(sum == 0 ? 0.0f : 1.0f / sum);
  for (int v = 0; v < value_length; v += 16) {
    const int n = value_length - v < 16 ? value_length - v : 16;
    store_n(result + v, fma(load(out + v), inverse, zero()), n);
  }
}

/// kinglet::mix() of 16 keys at once: x [n][16 lanes].
KINGLET_INLINE void mix_lanes(float* x, int n) {
  const int block = n & -n;
  const V scale = set1(1 / __builtin_sqrtf(static_cast<float>(block)));
  for (int begin = 0; begin < n; begin += block) {
    for (int half = 1; half < block; half *= 2)
      for (int i = begin; i < begin + block; i += 2 * half)
        for (int j = i; j < i + half; ++j) {
          const V a = load(x + 16 * j), b = load(x + 16 * (j + half));
          store(x + 16 * j, add(a, b));
          store(x + 16 * (j + half), sub(a, b));
        }
    for (int i = begin; i < begin + block; ++i) store(x + 16 * i, mul(load(x + 16 * i), scale));
  }
}

template <typename S>
void rotate_keys(const std::byte* group, int key_length, int half, bool pairs, const float* cosines, const float* sines,
                 float* out) {
  const V scales = S::kScaled ? load(scales_of<S>(group, key_length)) : zero();
  const auto key = [=](int d) {
    const V x = S::load(group, 16 * d);
    return S::kScaled ? mul(x, scales) : x;
  };
  if constexpr (S::kMixed) {
    // The rotation is of the key itself: the mixing is undone first.
    for (int d = 0; d < key_length; ++d) store(out + 16 * d, key(d));
    mix_lanes(out, key_length);
  }
  const auto plain = [=](int d) { return S::kMixed ? load(out + 16 * d) : key(d); };
  for (int i = 0; i < half; ++i) {
    const int a = pairs ? 2 * i : i, b = pairs ? 2 * i + 1 : half + i;
    const V x = plain(a), y = plain(b), c = load(cosines + 16 * i), s = load(sines + 16 * i);
    // As rope_halves and rope_pairs do it.
    store(out + 16 * a, fma(y, negate(s), mul(x, c)));
    store(out + 16 * b, fma(x, s, mul(y, c)));
  }
  for (int d = 2 * half; d < key_length; ++d) store(out + 16 * d, plain(d));
}

void stage_query(const float* x, float scale, int key_length, int q_stride, int r, float* q) {
  for (int d = 0; d < key_length; ++d) q[d * q_stride + r] = x[d] * scale;
}

}  // namespace

#define KINGLET_STORAGES(function) {function<F32>, function<F16>, function<Bf16>, function<Int8>, function<Int4>}
extern const AttentionKernels attention_table;
const AttentionKernels attention_table = {
    .store_key = KINGLET_STORAGES(store_key),
    .store_value = KINGLET_STORAGES(store_value),
    .stage_query = stage_query,
    .rotate_keys = KINGLET_STORAGES(rotate_keys),
    .scores = KINGLET_STORAGES(scores),
    .softmax = softmax,
    .values = KINGLET_STORAGES(values),
    .merge = merge,
    .finish = finish,
};
#undef KINGLET_STORAGES

}  // namespace kinglet::KINGLET_ISA
