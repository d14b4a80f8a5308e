// A loaded model: configuration, matrices packed for this machine, small vectors in f32, tokenizer. Immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/architecture.h"
#include "kinglet/checkpoint.h"
#include "kinglet/linear.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

class ThreadPool;
class WeightStream;

/// f32 vector of a norm or a bias; empty where the layer has none.
using Vector = std::vector<float>;

struct LayerWeights {
  Vector attention_norm, attention_norm_bias, feed_forward_norm, feed_forward_norm_bias;
  Vector post_attention_norm, post_feed_forward_norm;  ///< sandwich norms
  Vector query_norm, key_norm;
  /// Layers that share matrices (kinglet/layer_map.h) hold the same objects.
  std::shared_ptr<Linear> query, key, value, output, gate, up, down;
  Vector query_bias, key_bias, value_bias, output_bias, gate_bias, up_bias, down_bias;
  std::shared_ptr<Linear>& matrix(std::string_view kind);  ///< one of kLayerMatrixKinds
};

/// Names of a layer's matrices in the order of the forward pass; without a gate in some architectures.
inline constexpr std::string_view kLayerMatrixKinds[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                         "ffn_gate", "ffn_up", "ffn_down"};
/// "blk.3.ffn_up.weight"
std::string layer_matrix_name(int layer, std::string_view kind);

struct LoadOptions {
  int threads = 0;  ///< 0: chosen from the machine (physical cores)
  bool with_tokenizer = true;
  /// False: matrices stay in the file, unpacked, until somebody packs them one by one (compress/workbench.h): a model
  /// larger than memory can be opened, but not multiplied with.
  bool pack = true;
  /// Most bytes of packed matrices that stay in memory; 0: all. What is more lies in a file without a name under
  /// $TMPDIR (or /var/tmp), from which whole layers are read each time a pass comes to them (kinglet/weight_stream.h).
  std::uint64_t weight_memory = 0;
  /// Entropy-coded matrices stay mapped as they lie in the file, and every product decodes them block by block: the
  /// same bits, less memory, more time (docs/lossless.md). Not with weight_memory.
  bool keep_coded = false;
};

class Model {
 public:
  /// Opens, validates, packs. `path` is a file or a directory (names are resolved by the store).
  /// Errors: those of open_checkpoint; kUnsupported with the architecture's or tensor type's name; kExhausted before
  /// anything large is read, with the figures (also where weight_memory is too small for one layer); with keep_coded
  /// kUnsupported where no matrix is coded, kInvalidArgument with weight_memory.
  static Result<std::shared_ptr<const Model>> load(const std::string& path, LoadOptions options = {});
  static Result<std::shared_ptr<const Model>> load(std::unique_ptr<Checkpoint> checkpoint, LoadOptions options = {});
  ~Model();

  const ModelConfig& config() const { return config_; }
  /// The file's, but for the lists of tokens and merges, which the tokenizer has (open_checkpoint gives them).
  const Metadata& metadata() const { return metadata_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& path() const { return path_; }
  ThreadPool& pool() const { return *pool_; }
  int threads() const;
  std::uint64_t file_bytes() const { return file_bytes_; }
  std::uint64_t weight_bytes() const { return weight_bytes_; }        ///< packed matrices
  WeightStream* stream() const { return stream_.get(); }              ///< null: all weights are in memory
  std::uint64_t bytes_per_token() const { return bytes_per_token_; }  ///< weight bytes that one decode step reads

  std::shared_ptr<Linear> embedding, position_embedding, token_types;
  std::shared_ptr<Linear> head;  ///< null: the embedding is tied
  const Linear& output_head() const { return head ? *head : *embedding; }
  Vector output_norm, output_norm_bias, embedding_norm, embedding_norm_bias;
  std::vector<LayerWeights> layers;

 private:
  Model();
  friend class ModelLoader;
  ModelConfig config_;
  Metadata metadata_;
  std::string path_;
  std::uint64_t file_bytes_ = 0, weight_bytes_ = 0, bytes_per_token_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ThreadPool> pool_;
  struct Arena;
  std::unique_ptr<Arena> arena_;
  std::shared_ptr<WeightStream> stream_;
};

}  // namespace kinglet
