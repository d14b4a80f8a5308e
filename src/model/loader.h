// Builds a Model from a checkpoint: finds each tensor, checks its shape, packs the matrices.
#pragma once

#include "kinglet/model.h"

namespace kinglet {

class ModelLoader {
 public:
  ModelLoader(const Checkpoint& checkpoint, Model& model) : checkpoint_(checkpoint), model_(model) {}

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
  };
  Result<void> matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs, std::shared_ptr<Linear>& to);
  Result<void> vector(const std::string& name, std::int64_t length, Vector& to);
  Result<void> optional_vector(const std::string& name, std::int64_t length, Vector& to);
  Result<void> layer(int index);
  Result<void> layer_matrices(const std::string& prefix, const LayerConfig& sizes, LayerWeights& layer);
  Result<void> share_matrices(int index, int owner);
  Result<void> layer_norms(const std::string& prefix, LayerWeights& layer);
  Result<void> norm(const std::string& name, Vector& weight, Vector& bias);
  void pack_share(const Slot& slot, TileRange range, std::byte* to) const;

  const Checkpoint& checkpoint_;
  Model& model_;
  std::vector<Slot> slots_;
  std::size_t factored_ = 0;  ///< matrices that are products of factors
};

}  // namespace kinglet
