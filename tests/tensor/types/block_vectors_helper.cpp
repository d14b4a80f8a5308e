#include "tensor/types/block_vectors_helper.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>

namespace kinglet {

std::vector<BlockVectors> read_block_vectors() {
  std::ifstream file(KINGLET_TEST_DATA "/tensor/data/block_vectors.bin", std::ios::binary);
  const std::vector<char> text((std::istreambuf_iterator<char>(file)), {});
  std::vector<BlockVectors> all;
  for (std::size_t at = 0; at < text.size();) {
    if (text.size() - at < 28) return {};
    std::uint32_t sizes[3];
    std::memcpy(sizes, text.data() + at + 16, sizeof sizes);
    BlockVectors one{text.data() + at, sizes[0], sizes[1], sizes[2], {}, {}};
    at += 28;
    one.data.resize(one.blocks * one.block_bytes);
    one.values.resize(one.blocks * one.block_values);
    const std::size_t floats = one.values.size() * sizeof(float);
    if (text.size() - at < one.data.size() + floats) return {};
    std::memcpy(one.data.data(), text.data() + at, one.data.size());
    std::memcpy(one.values.data(), text.data() + at + one.data.size(), floats);
    at += one.data.size() + floats;
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace kinglet
