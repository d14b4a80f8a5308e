// decode() and codes() of a block type, from its Layout: how one block's bits spread out to codes, scales and minimums.
//
// A Layout has kValues, kBytes, kGroup, kHasMinimum and
//   static void unpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums)
// where minimums is not null if kHasMinimum, and optionally kCodebook.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quantize/bytes.h"

namespace kinglet {

template <class Layout>
void unpack_blocks(const std::byte* data, std::size_t blocks, std::int8_t* codes, float* scales, float* minimums) {
  constexpr int kGroups = Layout::kValues / Layout::kGroup;
  float ignored[kGroups];
  for (std::size_t block = 0; block < blocks; ++block) {
    float* block_minimums = minimums == nullptr ? ignored : minimums + block * kGroups;
    if constexpr (!Layout::kHasMinimum) {
      for (int group = 0; group < kGroups; ++group) block_minimums[group] = 0;
    }
    Layout::unpack(octets(data) + block * Layout::kBytes, codes + block * Layout::kValues, scales + block * kGroups,
                   block_minimums);
  }
}

/// value = scale * code - minimum, each operation rounded once: the order of ggml's reference. Subtracting -m rounds
/// like adding m.
template <class Layout>
void decode_blocks(const std::byte* data, std::size_t blocks, float* out) {
  constexpr int kGroups = Layout::kValues / Layout::kGroup;
  std::int8_t codes[Layout::kValues];
  float scales[kGroups], minimums[kGroups];
  for (std::size_t block = 0; block < blocks; ++block, out += Layout::kValues) {
    Layout::unpack(octets(data) + block * Layout::kBytes, codes, scales, minimums);
    for (int group = 0; group < kGroups; ++group) {
      for (int i = group * Layout::kGroup; i < (group + 1) * Layout::kGroup; ++i) {
        float code = codes[i];
        if constexpr (requires { Layout::kCodebook; }) code = Layout::kCodebook[codes[i]];
        float value = scales[group] * code;
        if constexpr (Layout::kHasMinimum) value -= minimums[group];
        out[i] = value;
      }
    }
  }
}

}  // namespace kinglet
