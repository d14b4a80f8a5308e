// Small random models in memory, for tests of the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kinglet/engine.h"

namespace kinglet::test {

struct TinyModelOptions {
  std::string architecture = "llama";
  std::string type = "Q4_1";  ///< of the matrices
  int layers = 3, width = 96, heads = 6, kv_heads = 2, feed_forward = 160, vocabulary = 100, context = 1024;
  int key_length = 32;
  int window = 0;
  std::uint64_t seed = 1;
};

std::unique_ptr<Checkpoint> make_tiny_checkpoint(const TinyModelOptions& options);
std::shared_ptr<const Model> make_tiny_model(const TinyModelOptions& options, int threads = 1);

}  // namespace kinglet::test
