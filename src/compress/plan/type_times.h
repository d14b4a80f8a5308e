// How long matrices of each type take to multiply one row on this machine: what a plan's speed is predicted from.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "compress/plan/choices.h"
#include "kinglet/checkpoint.h"
#include "kinglet/pass.h"

namespace kinglet {

class ThreadPool;

/// Seconds a weight, by type and row length.
class TypeTimes {
 public:
  /// Asks for a type at a row length; `weights` is how many the model has of that length.
  void want(const BlockType& type, std::int64_t columns, std::int64_t weights);
  /// Times what was asked for: a matrix of each, in turns, one row at a time on all threads of the pool. Before each,
  /// `model_bytes` of other memory are read, as a token reads the rest of the model: so each comes from where the
  /// model's matrices come from (memory, or the cache for small models). `memory`: most bytes to hold.
  Result<void> measure(ThreadPool& pool, std::uint64_t memory, std::uint64_t model_bytes);
  /// Of one multiplication; 0 for what was never measured.
  double seconds(const BlockType& type, std::int64_t rows, std::int64_t columns) const;
  double seconds(const TensorInfo& tensor) const { return seconds(*tensor.type, tensor.rows(), tensor.columns()); }

  std::string text() const;  ///< JSON, for a journal
  static Result<TypeTimes> parse(std::string_view text, const std::string& place);

 private:
  struct Entry {
    std::int64_t weights = 0;
    double seconds = 0;
  };
  std::map<std::pair<std::string, std::int64_t>, Entry> entries_;
};

/// Whether a decoded token is multiplied by this matrix: those of layers, and the head (which may be the embedding).
bool multiplied_a_token(std::string_view name, bool tied);

/// Decode speed of models with these tensors, from the time that the source takes and the times of its matrices.
struct SpeedModel {
  TypeTimes times;
  double source_seconds = 0;  ///< a decoded token of the source, measured
  double scale = 1;           ///< what matrices take within the model, as a multiple of their times alone
  double other_seconds = 0;   ///< what is no multiplication: attention, norms, waiting

  /// Seconds a decoded token.
  double seconds(std::span<const TensorInfo> tensors) const;
  static double matrices(const TypeTimes& times, std::span<const TensorInfo> tensors);
};

/// Measures all types that `wanted` names, the source, and the source with all matrices in the smallest type: the two
/// tell what matrices and all else take within the model. kUnsupported where the source does not generate, kExhausted
/// where it is too large to be run.
Result<SpeedModel> measure_speed_model(const PassContext& context, TypeTimes wanted);

}  // namespace kinglet
