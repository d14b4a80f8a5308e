// A model whose matrices are packed one layer at a time and can be exchanged: what calibration, rounding in sequence
// and searches run on.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_memory.h"
#include "kinglet/engine.h"

namespace kinglet {

/// A matrix packed for this machine; may be put into a workbench and taken out again any number of times.
struct PackedMatrix {
  std::shared_ptr<Linear> linear;
  AlignedMemory memory;
};
/// Whether a tensor is a matrix of a layer that the forward pass multiplies with: "blk.N.KIND.weight".
bool is_layer_matrix(std::string_view name);

/// The tensors of a matrix: itself, or its factors; none where the checkpoint has neither.
std::vector<const TensorInfo*> tensors_of(const Checkpoint& checkpoint, const std::string& name);

/// Packs a matrix of a checkpoint, a tensor or a product of factors, with the Linear that accepts it.
Result<std::unique_ptr<PackedMatrix>> pack_matrix(const Checkpoint& checkpoint, std::string_view name);
/// Packs the blocks of one matrix, shape {outputs, inputs}.
Result<std::unique_ptr<PackedMatrix>> pack_matrix(const BlockType& type, std::vector<std::int64_t> shape,
                                                  TensorData data);

class Workbench {
 public:
  /// The model of a checkpoint, which must outlive the workbench, with nothing packed.
  static Result<std::unique_ptr<Workbench>> open(const Checkpoint& checkpoint, LoadOptions options,
                                                 EngineOptions engine);

  Engine& engine() { return *engine_; }
  const Model& model() const { return *model_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }  ///< the source
  ThreadPool& pool() const { return model_->pool(); }

  /// Packs what a layer lacks / drops what it holds, exchanged matrices too. Between calls of the engine only.
  Result<void> page_in(int layer);
  Result<void> page_out(int layer);
  Result<void> page_in_head();
  Result<void> page_in_all();

  /// Puts a matrix in place of the tensor's and returns what was there (null where it was not packed). Between calls of
  /// the engine only; kNotFound where the model has no such matrix.
  Result<std::unique_ptr<PackedMatrix>> exchange(const std::string& tensor, std::unique_ptr<PackedMatrix> matrix);

  /// The matrix that is in a tensor's place; null where the model has none.
  const Linear* linear(const std::string& tensor) const;
  /// A norm's or a bias's values, which may be changed between calls of the engine; null where the model has none.
  Vector* vector(std::string_view tensor);

  /// Matrices of a layer in the order of the forward pass, by name: those of the layer that it shares with, where it
  /// does.
  std::vector<std::string> matrices(int layer) const;

 private:
  struct Place {
    std::vector<std::shared_ptr<Linear>*> linears;  ///< more than one where layers share it
    AlignedMemory memory;
    bool packed = false;
  };
  Result<void> page_in(const std::string& tensor, Place& place);
  static void put(Place& place, const std::shared_ptr<Linear>& linear);

  // The model was made as a plain object and nobody else knows it.
  Model& own_model() { return const_cast<Model&>(*model_); }

  const Checkpoint* checkpoint_ = nullptr;
  std::unique_ptr<Checkpoint> outline_;  ///< what the unpacked layers are made of
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  std::map<std::string, Place> places_;
};

}  // namespace kinglet
