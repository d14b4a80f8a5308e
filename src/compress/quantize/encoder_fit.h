// What stays beside the rounded matrices of an encoder (BERT), fitted to them: biases, norms, and the tables that are
// added to the embedding.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/quantize/hidden_rows.h"
#include "compress/workbench.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

class RoundedStore;

/// Type of each tensor that is fitted.
using FittedTensors = std::map<std::string, const BlockType*>;

/// Whether an encoder's tensor may be fitted, by its name.
bool is_fitted(std::string_view tensor);

/// What the outputs of a matrix need beside its product: weighted means over the rows.
struct StageMeans {
  double weight = 0;
  std::vector<double> input;              ///< sum of w x_ours
  std::vector<double> input_difference;   ///< sum of w (x_source - x_ours); may be empty
  std::vector<double> output_difference;  ///< sum of w (y_source - y_ours); may be empty
  /// The rows are scaled by their weights already; without weights all count by one.
  void add(std::span<const float> weights, const Rows& inputs, std::size_t width, const Rows* input_differences,
           const Rows* output_differences);
};

class EncoderFit {
 public:
  EncoderFit(Workbench& source, Workbench& target, const std::vector<std::vector<TokenId>>& windows,
             const FittedTensors& tensors)
      : source_(source), target_(target), windows_(windows), tensors_(tensors) {}

  bool fits(const std::string& tensor) const { return tensors_.contains(tensor); }

  /// Once the embedding is rounded: tables and the embedding's norm.
  Result<void> embedding(RoundedStore& store);

  /// The bias of a rounded matrix: the outputs' means become the source's.
  Result<void> bias(const std::string& matrix, const StageMeans& means, RoundedStore& store);
  /// A norm, NAME.weight and NAME.bias, from the rows that it gives in the source and here.
  Result<void> norm(const std::string& name, const std::vector<Rows>& theirs, const std::vector<Rows>& ours,
                    RoundedStore& store);
  /// Puts what the store has into the target; whether all of them were there.
  Result<bool> take_finished(std::span<const std::string> names, const RoundedStore& store);
  /// Of a matrix: "blk.0.attn_q.bias".
  static std::string bias_of(std::string_view matrix);

 private:
  std::size_t width() const { return static_cast<std::size_t>(source_.model().config().width); }
  Result<void> tables(RoundedStore& store);
  Result<void> put(const std::string& name, const std::vector<float>& values, RoundedStore& store);
  Result<void> set(const std::string& name, std::vector<std::byte> bytes);
  Result<std::vector<float>> values(const std::string& name) const;
  Result<void> embed(Workbench& bench, std::size_t window, Rows& hidden) const;

  Workbench &source_, &target_;
  const std::vector<std::vector<TokenId>>& windows_;
  const FittedTensors& tensors_;
};

}  // namespace kinglet
