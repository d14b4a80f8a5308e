// A model with some layers left out and others sharing their matrices, as a view of the whole one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kinglet/checkpoint.h"

namespace kinglet {

/// One layer of the result.
struct FoldedLayer {
  int original = 0;  ///< the source's layer: its norms, hyperparameters and kind of attention
  int donor = 0;     ///< the source's layer whose matrices and biases it multiplies with
  int owner = 0;     ///< the layer of the result that holds them: itself, or one before it
};

/// Whether layers share their norms, too.
enum class FoldedNorms { kOwn, kDonors };

/// Layers that share nothing and are all there: the result is the source.
std::vector<FoldedLayer> whole_layout(int layers);

class FoldedCheckpoint final : public Checkpoint {
 public:
  /// `source` must outlive it, and may share layers itself: then `donor` is looked up through its map. kUnsupported
  /// where a layer would lose its kind of attention (an architecture whose windows follow the layer's number alone).
  static Result<std::unique_ptr<FoldedCheckpoint>> create(const Checkpoint& source, std::vector<FoldedLayer> layout,
                                                          FoldedNorms norms = FoldedNorms::kOwn);
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  Result<TensorData> data(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const override;
  std::string_view format() const override { return "folded"; }
  std::string_view path() const override { return source_->path(); }
  std::uint64_t file_bytes() const override;

 private:
  Result<void> set_metadata(const std::vector<FoldedLayer>& layout);
  Result<void> add_layer(int index, const FoldedLayer& layer, FoldedNorms norms, const std::vector<int>& map);
  void add(const TensorInfo& from, std::string name);
  const TensorInfo* origin(const TensorInfo& tensor) const;

  const Checkpoint* source_ = nullptr;
  Metadata metadata_;
  std::vector<TensorInfo> infos_;
  std::vector<const TensorInfo*> origins_;
};

}  // namespace kinglet
