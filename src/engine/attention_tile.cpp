#include "engine/attention_tile.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/fetch.h"
#include "tensor/kernels/elementwise.h"

namespace kinglet {
namespace {

using GroupList = std::array<const std::byte*, kKvGroups>;

std::size_t align64(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

std::size_t index_of(KvStorage storage) { return static_cast<std::size_t>(storage); }

std::size_t group_bytes(const KvLayout& layout) {
  return std::max(layout.key_group_bytes(), layout.value_group_bytes());
}

}  // namespace

AttentionScratch::AttentionScratch(const KvLayout& layout, std::byte* memory) {
  const auto take = [&memory](std::size_t floats) {
    auto* part = reinterpret_cast<float*>(memory);
    memory += align64(floats * sizeof(float));
    return part;
  };
  const std::size_t stride = static_cast<std::size_t>(layout.value_stride());
  queries = take(static_cast<std::size_t>(layout.key_length) * kQueryRows);
  scores = take(kQueryRows * kKvChunk);
  chunk = take(kQueryRows * (stride + 2));
  out = take(kQueryRows * stride);
  maxima = take(kQueryRows);
  sums = take(kQueryRows);
  groups = memory;
  rotated = reinterpret_cast<float*>(memory + align64(kKvGroups * group_bytes(layout)));
}

std::size_t AttentionScratch::bytes(const KvLayout& layout, bool rotates) {
  const std::size_t stride = static_cast<std::size_t>(layout.value_stride());
  const std::size_t floats =
      kQueryRows * (static_cast<std::size_t>(layout.key_length) + kKvChunk + 2 * stride + 4) + 6 * 16;
  const std::size_t rotated = rotates ? sizeof(float) * kRotatedGroups * kKvGroup : 0;
  return align64(floats * sizeof(float)) + align64(kKvGroups * group_bytes(layout)) +
         align64(rotated * static_cast<std::size_t>(layout.key_length));
}

void AttentionTile::stage(const float* queries, std::int64_t stride, float scale,
                          const AttentionScratch& scratch) const {
  // Mixed keys want mixed queries, unless they are made plain when they are rotated.
  const bool mixes = layout.mixed() && !rotation;
  for (int t = 0; t < tokens; ++t)
    for (int h = 0; h < heads; ++h) {
      const float* query = queries + row[static_cast<std::size_t>(t)] * stride + std::int64_t{h} * layout.key_length;
      if (mixes) {
        std::copy_n(query, layout.key_length, scratch.scores);
        mix(scratch.scores, layout.key_length);
        query = scratch.scores;
      }
      attention().stage_query(query, scale, layout.key_length, rows(), t * heads + h, scratch.queries);
    }
}

void AttentionTile::start(const AttentionScratch& scratch) const {
  std::fill_n(scratch.out, rows() * layout.value_stride(), 0.0f);
  std::fill_n(scratch.maxima, rows(), -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.sums, rows(), 0.0f);
}

AttentionTile::Range AttentionTile::range(std::int64_t chunk) const {
  const std::int64_t begin = std::max<std::int64_t>(least - chunk * kKvChunk, 0) / kKvGroup;
  const std::int64_t end = std::min<std::int64_t>(most - chunk * kKvChunk, kKvChunk - 1) / kKvGroup + 1;
  const std::int64_t shared = tree ? std::clamp(base / kKvGroup - chunk * kKvGroups, begin, end) : end;
  return {static_cast<int>(begin), static_cast<int>(shared), static_cast<int>(end)};
}

/// Past the last group of the chunk that a token of a tree sees.
int AttentionTile::private_end(std::int64_t chunk, int token) const {
  const std::int64_t seen = last[static_cast<std::size_t>(token)] - chunk * kKvChunk;
  return seen < 0 ? 0 : static_cast<int>(std::min<std::int64_t>(seen, kKvChunk - 1) / kKvGroup + 1);
}

void AttentionTile::run(std::int64_t chunk, bool another_follows, float* result,
                        const AttentionScratch& scratch) const {
  const Range groups = range(chunk);
  score(chunk, groups, scratch);
  weigh(chunk, groups, result, scratch);
  sum(chunk, groups, another_follows, result, scratch);
}

std::size_t AttentionTile::fetch(std::int64_t chunk) const {
  constexpr std::size_t kMostBytes = 16384;
  const Range groups = range(chunk);
  std::size_t fetched = 0;
  for (std::int64_t i = groups.begin; i < groups.end && fetched < kMostBytes; ++i) {
    const std::int64_t group = chunk * kKvGroups + i;
    fetch_ahead(cache->key_group(layer, kv_head, group), layout.key_group_bytes());
    fetch_ahead(cache->value_group(layer, kv_head, group), layout.value_group_bytes());
    fetched += layout.key_group_bytes() + layout.value_group_bytes();
  }
  return fetched;
}

/// Scores of `count` groups of keys for some of the queries. `group`: the first one's number, its slots / 16.
void AttentionTile::multiply(const std::byte* const* keys, std::int64_t group, int count, const float* queries,
                             int query_rows, const std::byte* const* next, float* scores,
                             const AttentionScratch& scratch) const {
  const AttentionKernels& kernels = attention();
  if (!rotation) {
    kernels.scores[index_of(layout.storage)](queries, rows(), query_rows, layout.key_length, keys, count, next, scores);
    return;
  }
  const std::int64_t floats = std::int64_t{layout.key_length} * kKvGroup,
                     angles = std::int64_t{rotation.half} * kKvGroup;
  std::array<const std::byte*, kRotatedGroups> rotated;
  for (int begin = 0; begin < count; begin += kRotatedGroups) {
    const int some = std::min(kRotatedGroups, count - begin);
    for (int i = 0; i < some; ++i) {
      float* to = scratch.rotated + i * floats;
      const std::int64_t at = (group + begin + i) * angles;
      kernels.rotate_keys[index_of(layout.storage)](keys[begin + i], layout.key_length, rotation.half, rotation.pairs,
                                                    rotation.cosines + at, rotation.sines + at, to);
      rotated[static_cast<std::size_t>(i)] = reinterpret_cast<const std::byte*>(to);
    }
    kernels.scores[index_of(KvStorage::kF32)](queries, rows(), query_rows, layout.key_length, rotated.data(), some,
                                              nullptr, scores + begin * kKvGroup);
  }
}

void AttentionTile::score(std::int64_t chunk, const Range& range, const AttentionScratch& scratch) const {
  const int count = range.shared - range.begin;
  GroupList keys, values;
  for (int i = 0; i < count; ++i) {
    keys[static_cast<std::size_t>(i)] = cache->key_group(layer, kv_head, chunk * kKvGroups + range.begin + i);
    values[static_cast<std::size_t>(i)] = cache->value_group(layer, kv_head, chunk * kKvGroups + range.begin + i);
  }
  if (count > 0)
    multiply(keys.data(), chunk * kKvGroups + range.begin, count, scratch.queries, rows(), values.data(),
             scratch.scores + kKvGroup * range.begin, scratch);
  for (int t = 0; tree && t < tokens; ++t) {
    const int own = private_end(chunk, t) - range.shared;
    for (int i = 0; i < own; ++i) {
      std::byte* to = scratch.groups + static_cast<std::size_t>(i) * layout.key_group_bytes();
      gather_key(t, chunk * kKvGroups + range.shared + i, to);
      keys[static_cast<std::size_t>(i)] = to;
    }
    if (own > 0)
      multiply(keys.data(), chunk * kKvGroups + range.shared, own, scratch.queries + t * heads, heads, nullptr,
               scratch.scores + t * heads * kKvChunk + kKvGroup * range.shared, scratch);
  }
}

/// `slot`: as the token sees them, its ancestors behind the slots before the call.
bool AttentionTile::sees(int token, std::int64_t slot) const {
  const std::size_t i = static_cast<std::size_t>(token);
  const bool ancestor = tree && slot >= base;
  const std::int64_t other = (*positions)[ancestor ? base + path[i][slot - base] : slot], own = position[i];
  if (window > 0 && other <= own - window) return false;
  return ancestor || other < own || (other == own && slot <= this->slot[i]);
}

/// Gives the scores of unseen slots -infinity. The cap comes first: it would make them finite.
void AttentionTile::hide(std::int64_t chunk, int token, const AttentionScratch& scratch) const {
  const std::size_t i = static_cast<std::size_t>(token);
  const std::int64_t begin = std::max(first[i], chunk * kKvChunk), end = std::min(last[i] + 1, (chunk + 1) * kKvChunk);
  for (int r = token * heads; r < (token + 1) * heads; ++r) {
    float* own = scratch.scores + r * kKvChunk - chunk * kKvChunk;
    if (cap > 0 && begin < end) elementwise().softcap(own + begin, cap, end - begin, own + begin);
    for (std::int64_t slot = begin; slot < end; ++slot)
      if (!sees(token, slot)) own[slot] = -std::numeric_limits<float>::infinity();
  }
}

void AttentionTile::weigh(std::int64_t chunk, const Range& range, float* result,
                          const AttentionScratch& scratch) const {
  float* maxima = result + rows() * layout.value_stride();
  float* sums = maxima + rows();
  for (int t = 0; t < tokens; ++t) {
    const std::size_t token = static_cast<std::size_t>(t);
    const std::int64_t begin = std::max<std::int64_t>(first[token] - chunk * kKvChunk, 0);
    const std::int64_t end = std::min<std::int64_t>(last[token] - chunk * kKvChunk, kKvChunk - 1);
    const int from = static_cast<int>(std::min<std::int64_t>(begin, kKvChunk));
    const int to = static_cast<int>(std::max<std::int64_t>(end, -1));
    if (positions != nullptr) hide(chunk, t, scratch);
    const float left = positions != nullptr ? 0 : cap;
    for (int r = t * heads; r < (t + 1) * heads; ++r)
      attention().softmax(scratch.scores + r * kKvChunk, range.begin, range.end, from, to, left, maxima + r, sums + r);
  }
}

void AttentionTile::sum(std::int64_t chunk, const Range& range, bool another_follows, float* result,
                        const AttentionScratch& scratch) const {
  const AttentionKernels& kernels = attention();
  const int stride = layout.value_stride(), count = range.shared - range.begin;
  std::fill_n(result, rows() * stride, 0.0f);
  GroupList values, next;
  for (int i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = cache->value_group(layer, kv_head, chunk * kKvGroups + range.begin + i);
    const std::int64_t coming = std::min((chunk + 1) * kKvGroups + i, most / kKvGroup);
    if (another_follows && !tree) next[static_cast<std::size_t>(i)] = cache->key_group(layer, kv_head, coming);
  }
  if (count > 0)
    kernels.values[index_of(layout.storage)](scratch.scores + kKvGroup * range.begin, rows(), stride, values.data(),
                                             count, another_follows && !tree ? next.data() : nullptr, result);
  for (int t = 0; tree && t < tokens; ++t) {
    const int own = private_end(chunk, t) - range.shared;
    for (int i = 0; i < own; ++i) {
      std::byte* to = scratch.groups + static_cast<std::size_t>(i) * layout.value_group_bytes();
      gather_value(t, chunk * kKvGroups + range.shared + i, to);
      values[static_cast<std::size_t>(i)] = to;
    }
    if (own > 0)
      kernels.values[index_of(layout.storage)](scratch.scores + t * heads * kKvChunk + kKvGroup * range.shared, heads,
                                               stride, values.data(), own, nullptr, result + t * heads * stride);
  }
}

void AttentionTile::merge(const float* result, const AttentionScratch& scratch) const {
  const int stride = layout.value_stride();
  const float* maxima = result + rows() * stride;
  const float* sums = maxima + rows();
  for (int r = 0; r < rows(); ++r)
    attention().merge(scratch.out + r * stride, scratch.maxima + r, scratch.sums + r, result + r * stride, maxima[r],
                      sums[r], stride);
}

void AttentionTile::finish(float* results, std::int64_t stride, const AttentionScratch& scratch) const {
  for (int t = 0; t < tokens; ++t)
    for (int h = 0; h < heads; ++h) {
      const int r = t * heads + h;
      float* result = results + row[static_cast<std::size_t>(t)] * stride + std::int64_t{h} * layout.value_length;
      attention().finish(scratch.out + r * layout.value_stride(), scratch.sums[r], layout.value_length, result);
      if (layout.mixed()) mix(result, layout.value_length);
    }
}

/// The group as this token sees it: positions before the call where they are, its ancestors at their positions.
void AttentionTile::gather_key(int token, std::int64_t group, std::byte* to) const {
  const std::int64_t start = group * kKvGroup, seen = last[static_cast<std::size_t>(token)];
  if (start < base) std::memcpy(to, cache->key_group(layer, kv_head, group), layout.key_group_bytes());
  for (std::int64_t position = std::max(start, base); position < start + kKvGroup && position <= seen; ++position) {
    const std::int64_t slot = base + path[static_cast<std::size_t>(token)][position - base];
    copy_key(layout, cache->key_group(layer, kv_head, slot / kKvGroup), static_cast<int>(slot % kKvGroup), to,
             static_cast<int>(position - start));
  }
}

void AttentionTile::gather_value(int token, std::int64_t group, std::byte* to) const {
  const std::int64_t start = group * kKvGroup, seen = last[static_cast<std::size_t>(token)];
  if (start < base)
    std::memcpy(to, cache->value_group(layer, kv_head, group), layout.value_group_bytes());
  else
    std::memset(to, 0, layout.value_group_bytes());
  for (std::int64_t position = std::max(start, base); position < start + kKvGroup && position <= seen; ++position) {
    const std::int64_t slot = base + path[static_cast<std::size_t>(token)][position - base];
    copy_value(layout, cache->value_group(layer, kv_head, slot / kKvGroup), static_cast<int>(slot % kKvGroup), to,
               static_cast<int>(position - start));
  }
}

}  // namespace kinglet
