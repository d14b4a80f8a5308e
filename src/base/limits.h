// Every limit on what a file or a request may ask for, with its reason. A limit is far above what real models need and
// far below what would exhaust a machine.
#pragma once

#include <cstdint>

namespace kinglet::limits {

// JSON. nlohmann's recursive copy and dump overflow the stack near 50,000 levels; real files have fewer than 20.
inline constexpr int kJsonDepth = 128;
// The largest tokenizer.json in use (Gemma 3) has 33 MB.
inline constexpr std::uint64_t kJsonBytes = 256ull << 20;
// config.json, generation_config.json, tokenizer_config.json: the largest seen have 1.2 MB (added tokens).
inline constexpr std::uint64_t kConfigBytes = 16ull << 20;
// The largest chat template in use has 40 kB.
inline constexpr std::uint64_t kTemplateBytes = 4ull << 20;
// The index of the largest sharded model (92,000 tensors) has 8.9 MB.
inline constexpr std::uint64_t kShardIndexBytes = 64ull << 20;

// safetensors: the format's own limit.
inline constexpr std::uint64_t kSafetensorsHeaderBytes = 100'000'000;

// GGUF. Real files have 20 to 80 keys; the format limits a key to 65,535 bytes.
inline constexpr std::uint64_t kMetadataKeys = 65'536;
inline constexpr std::uint64_t kMetadataKeyBytes = 65'535;
// The longest strings are whole tokenizer.json files.
inline constexpr std::uint64_t kMetadataStringBytes = kJsonBytes;
// The largest arrays are vocabularies and merges (below 1,000,000).
inline constexpr std::uint64_t kMetadataArray = 1ull << 24;
inline constexpr std::uint64_t kAlignment = 65'536;

// The most tensors in a real model are 92,000 (an expert model in Hugging Face layout).
inline constexpr std::uint64_t kTensors = 262'144;
inline constexpr std::uint64_t kTensorNameBytes = 1'024;
inline constexpr int kDimensions = 4;
// A dimension, and a product of dimensions: 2^48 values are more than any disk holds.
inline constexpr std::int64_t kDimension = 1ll << 40;
inline constexpr std::uint64_t kTensorValues = 1ull << 48;
// The most shards of a public model are 191.
inline constexpr std::int64_t kShards = 4'096;

// Hyperparameters. The deepest public model has 126 layers, the widest 16,384 (53,248 in its feed-forward), the largest
// vocabulary 262,208, the longest context 10 million.
inline constexpr std::int64_t kLayers = 1'024;
inline constexpr std::int64_t kWidth = 1 << 20;
inline constexpr std::int64_t kFeedForward = 1 << 22;
inline constexpr std::int64_t kHeads = 4'096;
inline constexpr std::int64_t kHeadLength = 8'192;
inline constexpr std::int64_t kVocabulary = 1 << 22;
inline constexpr std::int64_t kContext = 1 << 28;
// The longest token of a real vocabulary has 512 bytes (a run of spaces).
inline constexpr std::uint64_t kTokenBytes = 65'535;

}  // namespace kinglet::limits
