#include <algorithm>
#include <array>
#include <string_view>

#include "compress/plan/sensitivity.h"
#include "compress/quantize/matrix_rounder.h"
#include "compress/quantize/sequential.h"
#include "kinglet/architecture.h"
#include "kinglet/factors.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kFloat = sizeof(float);
constexpr std::string_view kEmbedding = "token_embd.weight";

/// One matrix of a layer, or its factors.
struct Matrix {
  std::uint64_t packed = 0, rounded = 0;  ///< before and after
  std::uint64_t stage = 0;                ///< sums and factors while it is rounded; 0: it stays
};

/// Bytes of the stage that rounds a tensor. The moments [inputs, inputs] lie there once; a factor is half as much, and
/// while it is computed it takes another whole one in doubles; trellis types need a second one.
std::uint64_t stage_bytes(const TensorInfo& tensor, const BlockType& to, std::uint64_t difference) {
  const auto rows = static_cast<std::uint64_t>(tensor.rows()), inputs = static_cast<std::uint64_t>(tensor.columns());
  const std::uint64_t square = kFloat * inputs * inputs, sums = square + difference;
  const std::uint64_t part =
      kFloat * inputs * std::min(rows, static_cast<std::uint64_t>(rows_at_once(tensor.columns())));
  const bool trellis = to.form.trellis != nullptr;
  const std::uint64_t collecting = 6 * kFloat * kSequentialRows * inputs;
  const std::uint64_t first = square + square / 2;
  const std::uint64_t correcting = difference == 0 ? part : square / 2 + (difference >= square ? square : 0) + 2 * part;
  const std::uint64_t second = trellis ? 2 * square + part : square / 2 + part;
  const std::uint64_t written = 2 * rows * to.row_bytes(inputs);
  return sums + std::max({collecting, first, std::max(correcting, second) + written});
}

}  // namespace

SequentialMemory sequential_memory(const Checkpoint& source, const TypePlan& plan, const SequentialOptions& options) {
  static constexpr std::string_view kJoining[] = {"attn_output", "ffn_down"};
  SequentialMemory memory;
  std::uint64_t width = 0, embedding_bytes = 0;
  bool embedding_planned = false;
  for (const TensorInfo* tensor : tensors_of(source, std::string(kEmbedding))) {
    if (tensor->shape.size() == 2) width = static_cast<std::uint64_t>(tensor->columns());
    embedding_bytes += tensor->bytes;
    embedding_planned = embedding_planned || plan.contains(tensor->name);
  }
  const int count = layer_count(source);
  const Architecture* architecture = find_architecture(source.architecture());
  const auto config = architecture ? architecture->configure(source.metadata()) : fail(ErrorCode::kUnsupported, "");
  const bool linear = config && has_linear_residual(*config), adds_before = config && config->post_norm;
  std::vector<std::array<Matrix, std::size(kLayerMatrixKinds)>> layers(static_cast<std::size_t>(count));
  std::uint64_t inner = width, outside = 0, largest = 0;
  for (const TensorInfo& tensor : source.tensors()) {
    if (tensor.shape.size() < 2) continue;
    const auto planned = plan.find(tensor.name);
    const int block = tensor_block(tensor.name, count);
    const std::string_view factored = matrix_of_factor(tensor.name);
    const std::string kind = matrix_kind(factored.empty() ? tensor.name : factored);
    const bool joins = std::find(std::begin(kJoining), std::end(kJoining), kind) != std::end(kJoining);
    const auto inputs = static_cast<std::uint64_t>(tensor.columns());
    const bool looked_up = tensor.name == kEmbedding || factored == kEmbedding;
    const bool corrects = options.correction != 0 && !looked_up;
    const std::uint64_t difference = corrects ? kFloat * inputs *
                                                    (!joins        ? inputs
                                                     : linear      ? width
                                                     : adds_before ? width + inputs
                                                                   : inputs)
                                              : 0;
    const std::uint64_t stage = planned == plan.end() ? 0 : stage_bytes(tensor, *planned->second, difference);
    if (block < 1 || block > count) {
      outside = std::max(outside, stage);
      continue;
    }
    largest = std::max(largest, tensor.bytes);
    inner = std::max(inner, inputs);
    const auto at = std::find(std::begin(kLayerMatrixKinds), std::end(kLayerMatrixKinds), kind);
    if (at == std::end(kLayerMatrixKinds)) continue;
    Matrix& matrix =
        layers[static_cast<std::size_t>(block - 1)][static_cast<std::size_t>(at - std::begin(kLayerMatrixKinds))];
    matrix.packed += tensor.bytes;
    matrix.rounded += planned == plan.end()
                          ? tensor.bytes
                          : static_cast<std::uint64_t>(tensor.rows()) * planned->second->row_bytes(inputs);
    matrix.stage = std::max(matrix.stage, stage);
  }
  std::uint64_t all = 0;
  for (const auto& layer : layers) {
    std::uint64_t packed = 0;
    for (const Matrix& matrix : layer) packed += matrix.packed;
    all += packed;
    const std::uint64_t beside = linear || options.correction == 0 ? 0 : packed;
    memory.stage = std::max(memory.stage, packed + largest);
    for (const Matrix& matrix : layer) {
      if (matrix.stage > 0) memory.stage = std::max(memory.stage, packed + beside + matrix.stage);
      packed = packed - matrix.packed + matrix.rounded;
    }
  }
  // What errors of the embedding do is measured on the whole model.
  if (!options.fitted.empty() && embedding_planned) outside = std::max(outside, all);
  memory.stage = std::max(memory.stage, outside) + embedding_bytes;
  memory.fixed = 2 * kSequentialRows * kFloat * (6 * width + 2 * inner);
  memory.row = 6 * width * kFloat;
  return memory;
}

}  // namespace kinglet
