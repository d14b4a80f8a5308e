// Blocks with the values that ggml's Python package gives them (tools/reference/make_block_vectors.py).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace kinglet {

struct BlockVectors {
  std::string type;
  std::size_t blocks, block_bytes, block_values;
  std::vector<std::byte> data;
  std::vector<float> values;
};

/// Empty if the file cannot be read whole.
std::vector<BlockVectors> read_block_vectors();

}  // namespace kinglet
