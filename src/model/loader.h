// Builds a Model from a checkpoint: finds each tensor, checks its shape, packs the matrices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kinglet/model.h"

namespace kinglet {

class LayerRing;

class ModelLoader {
 public:
  ModelLoader(const Checkpoint& checkpoint, Model& model, std::uint64_t weight_memory)
      : checkpoint_(checkpoint), model_(model), weight_memory_(weight_memory) {}

  Result<void> configure();
  Result<void> find_weights();
  Result<void> check_memory() const;  ///< kExhausted where the packed matrices would not fit
  /// Packs all matrices, each thread its own share of every matrix into its own arena, in the order in which a step
  /// reads them: a thread then streams one run of memory from the first layer to the head (performance: §4.1).
  Result<void> pack();

 private:
  /// What is packed: a matrix, or a part of one.
  struct Slot {
    Linear* linear;
    const TensorInfo* tensor;  ///< that it is packed from; null where that is not one alone
    int layer;                 ///< -1: of none
  };
  /// How much of the model stays in memory: the layers below `first`; the others go through `buffers` buffers.
  struct Division {
    int first = 0, buffers = 0;
    std::uint64_t resident = 0;
    std::vector<std::size_t> streamed;  ///< bytes of each layer from `first` on
  };
  Result<void> matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs, std::shared_ptr<Linear>& to);
  Result<void> vector(const std::string& name, std::int64_t length, Vector& to);
  Result<void> optional_vector(const std::string& name, std::int64_t length, Vector& to);
  Result<void> layer(int index);
  Result<void> layer_matrices(const std::string& prefix, const LayerConfig& sizes, LayerWeights& layer);
  Result<void> share_matrices(int index, int owner);
  Result<void> layer_norms(const std::string& prefix, LayerWeights& layer);
  Result<void> norm(const std::string& name, Vector& weight, Vector& bias);
  Result<Division> divide() const;
  std::size_t slot_bytes(const Slot& slot) const;
  Result<void> stream_share(const Slot& slot, TileRange range, std::size_t offset) const;
  void pack_share(const Slot& slot, TileRange range, std::byte* to) const;

  const Checkpoint& checkpoint_;
  Model& model_;
  std::uint64_t weight_memory_;  ///< LoadOptions::weight_memory
  int current_layer_ = -1;
  std::vector<Slot> slots_;
  std::shared_ptr<LayerRing> ring_;
  std::size_t factored_ = 0;  ///< matrices that are products of factors
};

}  // namespace kinglet
