// Rounds the matrices of a model in the order of the forward pass, each on the inputs that the rounded matrices before
// it give, with what those have already lost as part of the target.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/calibration/moments.h"
#include "compress/quantize/compensate.h"
#include "compress/quantize/encoder_fit.h"
#include "compress/workbench.h"

namespace kinglet {

/// Makes some matrices in another way than rounding them to a block type.
class MatrixMaker {
 public:
  virtual ~MatrixMaker() = default;
  virtual bool makes(std::string_view name) const = 0;
  virtual bool finished(std::string_view name) const = 0;  ///< by an earlier run
  /// Fits the matrix to `targets` [outputs, inputs] by the damped moments of its inputs, and keeps it; returns it
  /// packed.
  virtual Result<std::unique_ptr<PackedMatrix>> make(std::string_view name, std::span<const float> targets,
                                                     std::span<const float> moment, ThreadPool& pool) = 0;
  /// One that is finished.
  virtual Result<std::unique_ptr<PackedMatrix>> restore(std::string_view name) = 0;
};

struct SequentialOptions {
  /// Added to the diagonal of each second-moment matrix, as a share of its mean.
  double damping = 0.2;
  /// How much of the difference between the source's outputs and ours is put into the targets: 0 rounds each matrix to
  /// itself (GPTQ); 1 asks for the source's outputs on our inputs.
  double correction = 1;
  /// Weighs each token's outputs by the size of the residual stream that they are added to, which the next norm divides
  /// by; without it a few tokens with huge activations decide.
  bool weigh_tokens = true;
  /// How much a token's rows count as embedding (by its frequency) beside their use as head.
  double embedding_share = 1;
  CompensateOptions rounding;
  /// Further types of a matrix, rounded from the same moments and handed out beside the planned one, which alone goes
  /// into the model.
  std::map<std::string, std::vector<const BlockType*>> beside = {};
  /// Of encoders: what else is fitted to the rounded matrices (encoder_fit.h) and handed out; none: nothing is.
  FittedTensors fitted = {};
  MatrixMaker* maker = nullptr;  ///< of matrices that the plan does not name; may be null
};

/// Type of each matrix to round; those not named stay as they are.
using TypePlan = std::map<std::string, const BlockType*>;

struct RoundedMatrix {
  std::string name;
  const BlockType* type = nullptr;
  std::vector<std::byte> bytes;
  CompensateReport report;
};

/// Where rounded matrices go, and where those of an earlier run are.
class RoundedStore {
 public:
  virtual ~RoundedStore() = default;
  virtual bool finished(std::string_view name) const = 0;
  virtual Result<std::vector<std::byte>> read(std::string_view name) const = 0;
  virtual Result<void> put(RoundedMatrix matrix) = 0;
};

/// Whether the products of attn_output and ffn_down are added to the residual stream as they are, without a norm.
inline bool has_linear_residual(const ModelConfig& config) { return !config.sandwich_norm && !config.post_norm; }

/// Most rows of a window.
inline constexpr int kSequentialRows = 512;

/// What rounding in sequence holds at once, in bytes, the pages of the source that are read included.
struct SequentialMemory {
  std::uint64_t stage = 0;  ///< packed layers and the sums of a stage, where they are most
  std::uint64_t fixed = 0;  ///< both engines' workspaces
  std::uint64_t row = 0;    ///< hidden rows, for each token of calibration text
  std::uint64_t total(std::size_t tokens) const { return fixed + stage + row * tokens; }
};
SequentialMemory sequential_memory(const Checkpoint& source, const TypePlan& plan, const SequentialOptions& options);

/// Calls in this order: embedding(), layer(0), layer(1), … , head(). Matrices that the store has already are taken from
/// there: the same results as without a break. Deterministic for any number of threads.
class SequentialRounding {
 public:
  /// The checkpoint is used twice: as the source, and as the model whose matrices are replaced one by one. Memory: a
  /// layer, six hidden rows a token of calibration text, and what sequential_memory() says of the moments of a matrix.
  static Result<std::unique_ptr<SequentialRounding>> create(const Checkpoint& source,
                                                            std::vector<std::vector<TokenId>> windows, int threads);
  virtual ~SequentialRounding() = default;
  virtual void start(TypePlan plan, const SequentialOptions& options) = 0;
  virtual Result<void> embedding(RoundedStore& store) = 0;
  virtual Result<void> layer(int index, RoundedStore& store) = 0;
  /// A head that is not the embedding; nothing where it is.
  virtual Result<void> head(RoundedStore& store) = 0;
  /// Keep the rounded layers packed, so that target() can be evaluated afterwards.
  bool keep_packed = false;
  virtual Workbench& source() = 0;
  virtual Workbench& target() = 0;
};

}  // namespace kinglet
