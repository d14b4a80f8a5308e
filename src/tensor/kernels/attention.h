// Attention over keys and values kept in groups of 16 positions. Scores, softmax and weighted sums of a chunk of 256
// positions for a tile of query rows that share a KV head, so that keys and values are read once for all of them.
//
// One arithmetic: a score is one f32 accumulator over the head's inputs in ascending order, in the lane of its position
// (mod 16); a chunk's weights are summed in 16 lanes and one tree; a value is accumulated in the order of positions;
// chunks start at multiples of 256 from position 0 and are merged in ascending order. A position that a row does not
// see has weight exactly 0, and adding it changes nothing. So neither the tile's other rows, nor how a prompt was
// split, nor the instruction set can change a bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace kinglet {

inline constexpr int kKvGroup = 16;                    ///< positions of a group: one a lane
inline constexpr int kKvChunk = 256;                   ///< positions of a chunk, and of a page
inline constexpr int kKvGroups = kKvChunk / kKvGroup;  ///< groups of a chunk

/// How keys and values are kept. kInt8 and kInt4 have one scale a position and head, for the key and for the value.
/// kInt4 keeps what mix() gives: 16 levels for values that have no outliers any more.
enum class KvStorage : std::uint8_t { kF32, kF16, kBf16, kInt8, kInt4 };
inline constexpr int kKvStorages = 5;
inline constexpr int kMostMixed = 1024;  ///< longest head of kInt4

/// The orthonormal Walsh-Hadamard transform of x, in blocks of the largest power of two that divides n; its own
/// inverse. Scalar products stay, and one large input is spread over the block.
void mix(float* x, int n);

/// Where the values of a group lie. Keys: [key_length][16 positions]; kInt4: two dimensions in a byte, [key_length / 2]
/// [16 positions]. Values: [16 positions][value_stride]; kInt4: [value_stride / 16][8] bytes of the values i and i + 8.
/// With scales: 16 of them (f32) behind, at scale_offset. Groups are 64-byte aligned.
struct KvLayout {
  KvStorage storage = KvStorage::kF16;
  int key_length = 0, value_length = 0;

  int element_bits() const;
  bool scaled() const { return storage == KvStorage::kInt8 || storage == KvStorage::kInt4; }
  bool mixed() const { return storage == KvStorage::kInt4; }
  int value_stride() const { return (value_length + 15) / 16 * 16; }
  std::size_t key_scale_offset() const;
  std::size_t value_scale_offset() const;
  std::size_t key_group_bytes() const { return key_scale_offset() + (scaled() ? 64 : 0); }
  std::size_t value_group_bytes() const { return value_scale_offset() + (scaled() ? 64 : 0); }
  std::size_t page_bytes() const { return kKvGroups * (key_group_bytes() + value_group_bytes()); }
};

/// Copies one position's key (or value) between groups of the same layout.
void copy_key(const KvLayout& layout, const std::byte* from, int from_lane, std::byte* to, int to_lane);
void copy_value(const KvLayout& layout, const std::byte* from, int from_lane, std::byte* to, int to_lane);

using KvGroups = const std::byte* const*;  ///< pointers to groups in the order of their positions

struct AttentionKernels {
  /// Packs a key (value) of one position into its lane. f16 saturates at 65,504, so that no stored value is infinite.
  void (*store_key[kKvStorages])(const float* key, int key_length, std::byte* group, int lane);
  void (*store_value[kKvStorages])(const float* value, int value_length, std::byte* group, int lane);

  /// q[d * q_stride + r] = x[d] * scale: puts a query into column r of a tile.
  void (*stage_query)(const float* x, float scale, int key_length, int q_stride, int r, float* q);

  /// out [key_length][16 lanes]: a group's keys, the first 2 * half dimensions rotated by each lane's angles (cosines,
  /// sines: [half][16]). `pairs`: dimensions 2 i and 2 i + 1 turn together; else i and half + i.
  void (*rotate_keys[kKvStorages])(const std::byte* group, int key_length, int half, bool pairs, const float* cosines,
                                   const float* sines, float* out);
  /// scores[r * 256 + 16 g + lane] = sum over d of q[d * q_stride + r] * key, for `count` groups. `next` (may be null):
  /// at least `count` groups that will be read afterwards.
  void (*scores[kKvStorages])(const float* q, int q_stride, int rows, int key_length, KvGroups groups, int count,
                              KvGroups next, float* scores);
  /// Turns one row's scores of the groups [begin, end) into weights e^(score - maximum); positions outside [first,
  /// last] (of the chunk, inside these groups) get 0. cap > 0: cap * tanh(score / cap) first. Nothing visible (first >
  /// last, or all scores -infinity): weights 0, maximum -infinity, sum 0.
  void (*softmax)(float* scores, int begin, int end, int first, int last, float cap, float* maximum, float* sum);
  /// out[r * value_stride + v] += sum over positions of weights[r * 256 + 16 g + lane] * value, in order.
  void (*values[kKvStorages])(const float* weights, int rows, int value_stride, KvGroups groups, int count,
                              KvGroups next, float* out);
  /// Adds a chunk's result to what came before it. Start with maximum -infinity, sum 0, out 0.
  void (*merge)(float* out, float* maximum, float* sum, const float* chunk_out, float chunk_maximum, float chunk_sum,
                int value_stride);
  /// result[v] = out[v] / sum, for value_length values.
  void (*finish)(const float* out, float sum, int value_length, float* result);
};

/// Null where the set is not built into this program.
const AttentionKernels* attention_kernels(Isa isa);
/// The table of active_isa().
const AttentionKernels& attention();

}  // namespace kinglet
