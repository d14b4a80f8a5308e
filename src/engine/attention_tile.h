// The query rows of some tokens and of the heads that share one KV head, over chunks of 256 positions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/cache/sequence_cache.h"
#include "engine/key_rotation.h"
#include "tensor/kernels/attention.h"

namespace kinglet {

/// Query rows of a tile: enough that a chunk's keys are read from memory once for many, few enough that their weights
/// for a chunk (32 KiB) stay in the first-level cache.
inline constexpr int kQueryRows = 32;

/// Groups of keys that are rotated at once: few enough that they stay in the first-level cache until they are used.
inline constexpr int kRotatedGroups = 4;

/// One thread's memory for tiles.
struct AttentionScratch {
  AttentionScratch(const KvLayout& layout, std::byte* memory);
  /// `rotates`: with room for rotated keys, which other tiles do not touch.
  static std::size_t bytes(const KvLayout& layout, bool rotates);

  float* queries;     ///< [key_length][rows]
  float* scores;      ///< [rows][256]
  float* chunk;       ///< a chunk's result: [rows][value_stride], maxima [rows], sums [rows]
  float* out;         ///< [rows][value_stride], all chunks so far
  float* maxima;      ///< [rows]
  float* sums;        ///< [rows]
  std::byte* groups;  ///< 16 gathered groups of keys or values
  float* rotated;     ///< kRotatedGroups groups of keys [key_length][16]
};

struct AttentionTile {
  KvLayout layout;
  float cap = 0;
  const SequenceCache* cache = nullptr;
  int layer = 0, kv_head = 0, tokens = 0, heads = 0;
  std::int64_t base = 0;  ///< slots before the call
  bool tree = false;
  SlotAngles rotation{};                                 ///< of keys that are kept unrotated
  std::array<std::int32_t, kQueryRows> row{};            ///< of the call, by token
  std::array<std::int64_t, kQueryRows> first{}, last{};  ///< visible slots, by token
  std::array<const std::int32_t*, kQueryRows> path{};    ///< trees: slot - base of the row's ancestors and itself
  std::int64_t least = 0, most = 0;                      ///< no token sees a slot outside
  /// Not null: of the slots [first, last] a token sees those whose position is not above its own, nor below its window.
  const PositionMap* positions = nullptr;
  std::int64_t window = 0;                                  ///< 0: none
  std::array<std::int64_t, kQueryRows> position{}, slot{};  ///< with positions: the token's own
  std::int64_t chunk_begin = 0, chunk_end = 0;

  int rows() const { return tokens * heads; }
  std::int64_t partial_floats() const { return (rows() * (layout.value_stride() + 2) + 15) / 16 * 16; }

  /// queries: of the tile's first head in row 0 of the call; `stride` floats from row to row.
  void stage(const float* queries, std::int64_t stride, float scale, const AttentionScratch& scratch) const;
  void start(const AttentionScratch& scratch) const;
  /// Writes a chunk's result as AttentionScratch::chunk; leaves its weights in scratch.scores.
  void run(std::int64_t chunk, bool another_follows, float* result, const AttentionScratch& scratch) const;
  /// Starts to fetch the first keys and values of a chunk. Returns their bytes.
  std::size_t fetch(std::int64_t chunk) const;
  void merge(const float* result, const AttentionScratch& scratch) const;
  void finish(float* results, std::int64_t stride, const AttentionScratch& scratch) const;

 private:
  /// Groups of a chunk, relative to it: [begin, shared) lie in the cache for all rows; [shared, end) hold a tree's
  /// rows, and each token gathers its own ancestors as if they alone had been fed.
  struct Range {
    int begin, shared, end;
  };
  Range range(std::int64_t chunk) const;
  int private_end(std::int64_t chunk, int token) const;
  void score(std::int64_t chunk, const Range& range, const AttentionScratch& scratch) const;
  void multiply(const std::byte* const* keys, std::int64_t group, int count, const float* queries, int query_rows,
                const std::byte* const* next, float* scores, const AttentionScratch& scratch) const;
  bool sees(int token, std::int64_t slot) const;
  void hide(std::int64_t chunk, int token, const AttentionScratch& scratch) const;
  void weigh(std::int64_t chunk, const Range& range, float* result, const AttentionScratch& scratch) const;
  void sum(std::int64_t chunk, const Range& range, bool another_follows, float* result,
           const AttentionScratch& scratch) const;
  void gather_key(int token, std::int64_t group, std::byte* to) const;
  void gather_value(int token, std::int64_t group, std::byte* to) const;
};

}  // namespace kinglet
