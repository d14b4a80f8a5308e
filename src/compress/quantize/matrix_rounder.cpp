#include "compress/quantize/matrix_rounder.h"

#include <algorithm>

#include "base/try.h"
#include "compress/memory_checkpoint.h"

namespace kinglet {

std::vector<const TensorInfo*> MatrixRounder::tensors_of(const std::string& name) const {
  const Checkpoint& checkpoint = source_->checkpoint();
  const auto factored = find_factored(checkpoint.metadata(), name);
  if (factored && *factored) return factors_of(checkpoint, **factored);
  const TensorInfo* tensor = checkpoint.find(name);
  return tensor == nullptr ? std::vector<const TensorInfo*>() : std::vector{tensor};
}

Result<void> MatrixRounder::take_finished(const std::string& name, const RoundedStore& store) {
  KINGLET_TRY(const auto factored, find_factored(source_->checkpoint().metadata(), name));
  if (factored) return join(*factored, store);
  if (is_made(name)) {
    KINGLET_TRY(auto made, options_.maker->restore(name));
    KINGLET_CHECK(target_->exchange(name, std::move(made)));
    return {};
  }
  KINGLET_TRY(std::vector<std::byte> bytes, store.read(name));
  KINGLET_TRY(auto packed,
              pack_matrix(*plan_.at(name), source_->checkpoint().find(name)->shape, own_bytes(std::move(bytes))));
  KINGLET_CHECK(target_->exchange(name, std::move(packed)));
  return {};
}

/// Puts a product of what the store has, and of the source's other factors, into its place.
Result<void> MatrixRounder::join(const FactoredMatrix& matrix, const RoundedStore& store) {
  const Checkpoint& source = source_->checkpoint();
  MemoryCheckpoint joined(source.metadata());
  for (const TensorInfo* factor : factors_of(source, matrix)) {
    if (plan_.contains(factor->name)) {
      KINGLET_TRY(std::vector<std::byte> bytes, store.read(factor->name));
      joined.add(factor->name, *plan_.at(factor->name), factor->shape, own_bytes(std::move(bytes)));
    } else {
      KINGLET_TRY(TensorData data, source.data(*factor));
      joined.add(factor->name, *factor->type, factor->shape, std::move(data));
    }
  }
  KINGLET_TRY(auto packed, pack_matrix(joined, matrix.name));
  KINGLET_CHECK(target_->exchange(matrix.name, std::move(packed)));
  return {};
}

Result<std::vector<float>> MatrixRounder::values(const TensorInfo& tensor) const {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  KINGLET_TRY(const TensorData data, source_->checkpoint().data(tensor));
  tensor.type->decode(data.bytes.data(), values.size() / static_cast<std::size_t>(tensor.type->block_values),
                      values.data());
  return values;
}

Result<MomentFactor> MatrixRounder::prepare(std::int64_t inputs, std::span<const float> lacking,
                                            std::vector<float>& moment, std::vector<float>& goal) const {
  const auto n = static_cast<std::size_t>(inputs);
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += moment[i * n + i] / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) moment[i * n + i] += static_cast<float>(options_.damping * mean + 1e-12);
  KINGLET_TRY(MomentFactor factor, factorise(moment, inputs));
  if (!lacking.empty()) add_correction(factor, lacking, options_.correction, source_->pool(), goal);
  return factor;
}

/// `goal` moved by what lacks, rounded to the planned type and handed out; its bytes.
Result<std::vector<std::byte>> MatrixRounder::round_values(const TensorInfo& tensor, std::vector<float> goal,
                                                           std::span<const float> lacking, std::vector<float> moment,
                                                           RoundedStore& store) {
  const std::int64_t rows = tensor.rows(), inputs = tensor.columns();
  KINGLET_TRY(const MomentFactor factor, prepare(inputs, lacking, moment, goal));
  const auto round_to = [&](const BlockType& to) {
    RoundedMatrix rounded{.name = tensor.name, .type = &to, .bytes = {}, .report = {}};
    rounded.bytes.resize(static_cast<std::size_t>(rows) * to.row_bytes(static_cast<std::uint64_t>(inputs)));
    rounded.report = round_compensated(to, goal, rows, inputs, moment, factor, options_.rounding, source_->pool(),
                                       rounded.bytes.data());
    return rounded;
  };
  if (const auto more = options_.beside.find(tensor.name); more != options_.beside.end()) {
    for (const BlockType* each : more->second) KINGLET_CHECK(store.put(round_to(*each)));
  }
  RoundedMatrix rounded = round_to(*plan_.at(tensor.name));
  std::vector<std::byte> bytes = rounded.bytes;
  KINGLET_CHECK(store.put(std::move(rounded)));
  return bytes;
}

Result<void> MatrixRounder::round(const std::string& name, const StageSums& sums, RoundedStore& store) {
  KINGLET_TRY(const auto factored, find_factored(source_->checkpoint().metadata(), name));
  if (factored) return round_factors(*factored, sums, store);
  const TensorInfo* found = source_->checkpoint().find(name);
  if (found == nullptr || !is_missing(*found, store)) return {};  // a feed-forward without a gate has no such matrix
  const TensorInfo& tensor = *found;
  KINGLET_TRY(std::vector<float> weights, values(tensor));
  const std::vector<float> lacking = lacking_outputs(weights, tensor.columns(), sums.inputs(), source_->pool());
  if (is_made(name)) {
    std::vector<float> moment = sums.moment.sum();
    KINGLET_CHECK(prepare(tensor.columns(), lacking, moment, weights));
    KINGLET_TRY(auto made, options_.maker->make(name, weights, moment, source_->pool()));
    KINGLET_CHECK(target_->exchange(name, std::move(made)));
    return {};
  }
  KINGLET_TRY(std::vector<std::byte> bytes,
              round_values(tensor, std::move(weights), lacking, sums.moment.sum(), store));
  KINGLET_TRY(auto packed, pack_matrix(*plan_.at(name), tensor.shape, own_bytes(std::move(bytes))));
  KINGLET_CHECK(target_->exchange(name, std::move(packed)));
  return {};
}

/// The second factor also makes up for the rounding of the first.
Result<void> MatrixRounder::round_factors(const FactoredMatrix& matrix, const StageSums& sums, RoundedStore& store) {
  const std::vector<const TensorInfo*> factors = factors_of(source_->checkpoint(), matrix);
  const bool missing =
      std::any_of(factors.begin(), factors.end(), [&](const TensorInfo* factor) { return is_missing(*factor, store); });
  if (!missing) return {};
  const TensorInfo &first = *factors[0], &second = *factors[1];
  KINGLET_TRY(const std::vector<float> encoder, values(first));
  KINGLET_TRY(std::vector<float> decoder, values(second));
  std::vector<float> rounded = encoder;
  InputSums inputs = sums.inputs();
  if (plan_.contains(first.name)) {
    InputSums own{.moment = inputs.moment, .input_difference = inputs.input_difference, .output_difference = {}};
    const std::vector<float> lacking = lacking_outputs(encoder, first.columns(), own, source_->pool());
    std::vector<std::byte> bytes;
    if (store.finished(first.name)) {
      KINGLET_TRY(bytes, store.read(first.name));
    } else {
      KINGLET_TRY(bytes, round_values(first, encoder, lacking, sums.moment.sum(), store));
    }
    const BlockType& type = *plan_.at(first.name);
    type.decode(bytes.data(), rounded.size() / static_cast<std::size_t>(type.block_values), rounded.data());
  }
  if (is_missing(second, store)) {
    const SecondFactorSums inner =
        second_factor_sums(encoder, rounded, decoder, first.columns(), first.rows(), inputs, source_->pool());
    KINGLET_CHECK(round_values(second, std::move(decoder), inner.lacking, inner.moment, store));
  }
  return join(matrix, store);
}

}  // namespace kinglet
