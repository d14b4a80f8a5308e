#include "compress/quantize/matrix_rounder.h"

#include <algorithm>

#include "base/try.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize/rounding_kernels.h"
#include "kinglet/linear.h"

namespace kinglet {
namespace {

/// sum -= a b^T / weight
void centre(std::vector<float>& sum, const std::vector<double>& a, const std::vector<double>& b, double weight) {
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < b.size(); ++j) sum[i * b.size() + j] -= static_cast<float>(a[i] * b[j] / weight);
}

}  // namespace

StageMoments::StageMoments(StageSums sums, double damping) : moments({}, sums.inputs), means_(std::move(sums.means)) {
  std::vector<float> moment = sums.moment.take();
  if (sums.input_difference) input_difference_ = sums.input_difference->take();
  if (sums.output_difference) output_difference_ = sums.output_difference->take();
  if (means_.weight > 0) {
    centre(moment, means_.input, means_.input, means_.weight);
    if (!input_difference_.empty()) centre(input_difference_, means_.input, means_.input_difference, means_.weight);
    if (!output_difference_.empty()) centre(output_difference_, means_.output_difference, means_.input, means_.weight);
  }
  moments = OrderedMoments(std::move(moment), sums.inputs);
  moments.damp(damping);
}

std::int64_t rows_at_once(std::int64_t inputs) {
  constexpr std::int64_t kValues = 32 << 20;
  return std::max<std::int64_t>(kValues / inputs / kRoundingLanes, 1) * kRoundingLanes;
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

Result<std::vector<float>> MatrixRounder::values(const TensorInfo& tensor, std::int64_t begin, std::int64_t end) const {
  const Checkpoint& source = source_->checkpoint();
  const auto columns = static_cast<std::uint64_t>(tensor.columns());
  const std::uint64_t row_bytes = tensor.type->row_bytes(columns),
                      first = static_cast<std::uint64_t>(begin) * row_bytes;
  std::vector<float> values(static_cast<std::size_t>(end - begin) * columns);
  KINGLET_TRY(const TensorData data, source.data(tensor));
  tensor.type->decode(data.bytes.data() + first, values.size() / static_cast<std::size_t>(tensor.type->block_values),
                      values.data());
  source.release(tensor, first, static_cast<std::uint64_t>(end) * row_bytes);
  return values;
}

Result<MatrixRounder::Rows> MatrixRounder::rows_of(const TensorInfo& tensor, const InputSums& sums, std::int64_t begin,
                                                   std::int64_t end) const {
  Rows rows;
  KINGLET_TRY(rows.values, values(tensor, begin, end));
  InputSums own = sums;
  if (const auto columns = static_cast<std::size_t>(tensor.columns()); !own.output_difference.empty())
    own.output_difference =
        own.output_difference.subspan(static_cast<std::size_t>(begin) * columns, rows.values.size());
  rows.lacking = lacking_outputs(rows.values, tensor.columns(), own, source_->pool());
  return rows;
}

Result<void> MatrixRounder::correct(Rows& rows, OrderedMoments& moments) const {
  KINGLET_TRY(const MomentFactor* factor, moments.factor(InputOrder::kNatural, source_->pool()));
  if (!rows.lacking.empty()) add_correction(*factor, rows.lacking, options_.correction, source_->pool(), rows.values);
  rows.lacking = {};
  return {};
}

/// The rows moved by what they lack, rounded to the planned type and handed out, some at a time; the bytes.
Result<std::vector<std::byte>> MatrixRounder::round_values(const TensorInfo& tensor, const GetRows& get,
                                                           OrderedMoments& moments, RoundedStore& store) {
  const std::int64_t rows = tensor.rows(), inputs = tensor.columns();
  std::vector<RoundedMatrix> all;
  const auto add = [&](const BlockType& type) {
    const std::size_t bytes = static_cast<std::size_t>(rows) * type.row_bytes(static_cast<std::uint64_t>(inputs));
    all.push_back({.name = tensor.name, .type = &type, .bytes = std::vector<std::byte>(bytes), .report = {}});
  };
  if (const auto more = options_.beside.find(tensor.name); more != options_.beside.end()) {
    for (const BlockType* each : more->second) add(*each);
  }
  add(*plan_.at(tensor.name));
  KINGLET_CHECK(moments.factor(InputOrder::kNatural, source_->pool()));  // before there are rows: it takes the most
  const std::int64_t step = rows_at_once(inputs);
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(begin + step, rows);
    KINGLET_TRY(Rows part, get(begin, end));
    KINGLET_CHECK(correct(part, moments));
    for (RoundedMatrix& each : all) {
      std::byte* to = each.bytes.data() +
                      static_cast<std::size_t>(begin) * each.type->row_bytes(static_cast<std::uint64_t>(inputs));
      KINGLET_CHECK(
          round_compensated(*each.type, part.values, end - begin, moments, options_.rounding, source_->pool(), to));
    }
  }
  std::vector<std::byte> bytes = all.back().bytes;
  for (RoundedMatrix& each : all) KINGLET_CHECK(store.put(std::move(each)));
  return bytes;
}

Result<void> MatrixRounder::round(const std::string& name, StageMoments& stage, RoundedStore& store) {
  KINGLET_TRY(const auto factored, find_factored(source_->checkpoint().metadata(), name));
  if (factored) {
    const FactorForm form = factor_form(*factored);
    if (form == FactorForm::kOwn) return {};  // no plan has such factors
    return form == FactorForm::kRows ? round_groups(*factored, stage, store) : round_factors(*factored, stage, store);
  }
  const TensorInfo* found = source_->checkpoint().find(name);
  if (found == nullptr || !is_missing(*found, store)) return {};  // a feed-forward without a gate has no such matrix
  const TensorInfo& tensor = *found;
  const auto get = [&](std::int64_t begin, std::int64_t end) {
    return rows_of(tensor, stage.differences(), begin, end);
  };
  if (is_made(name)) {
    KINGLET_TRY(Rows rows, get(0, tensor.rows()));
    KINGLET_CHECK(correct(rows, stage.moments));
    KINGLET_TRY(auto made,
                options_.maker->make(name, rows.values, stage.moments.moment(InputOrder::kNatural), source_->pool()));
    KINGLET_CHECK(target_->exchange(name, std::move(made)));
    return {};
  }
  KINGLET_TRY(std::vector<std::byte> bytes, round_values(tensor, get, stage.moments, store));
  KINGLET_TRY(auto packed, pack_matrix(*plan_.at(name), tensor.shape, own_bytes(std::move(bytes))));
  KINGLET_CHECK(target_->exchange(name, std::move(packed)));
  return {};
}

/// Rows of one matrix all the same, whatever type their group has.
Result<void> MatrixRounder::round_groups(const FactoredMatrix& matrix, StageMoments& stage, RoundedStore& store) {
  for (const TensorInfo* group : factors_of(source_->checkpoint(), matrix)) {
    if (!is_missing(*group, store)) continue;
    const InputSums none;
    const auto get = [&](std::int64_t begin, std::int64_t end) { return rows_of(*group, none, begin, end); };
    KINGLET_CHECK(round_values(*group, get, stage.moments, store));
  }
  return join(matrix, store);
}

/// The second factor also makes up for the rounding of the first.
Result<void> MatrixRounder::round_factors(const FactoredMatrix& matrix, StageMoments& stage, RoundedStore& store) {
  const std::vector<const TensorInfo*> factors = factors_of(source_->checkpoint(), matrix);
  const bool missing =
      std::any_of(factors.begin(), factors.end(), [&](const TensorInfo* factor) { return is_missing(*factor, store); });
  if (!missing) return {};
  const TensorInfo &first = *factors[0], &second = *factors[1];
  KINGLET_TRY(const std::vector<float> encoder, values(first));
  KINGLET_TRY(std::vector<float> decoder, values(second));
  std::vector<float> rounded = encoder;
  InputSums inputs = stage.differences();
  if (plan_.contains(first.name)) {
    InputSums own{.moment = {}, .input_difference = inputs.input_difference, .output_difference = {}};
    std::vector<std::byte> bytes;
    if (store.finished(first.name)) {
      KINGLET_TRY(bytes, store.read(first.name));
    } else {
      const auto get = [&](std::int64_t begin, std::int64_t end) { return rows_of(first, own, begin, end); };
      KINGLET_TRY(bytes, round_values(first, get, stage.moments, store));
    }
    const BlockType& type = *plan_.at(first.name);
    type.decode(bytes.data(), rounded.size() / static_cast<std::size_t>(type.block_values), rounded.data());
  }
  if (is_missing(second, store)) {
    const std::vector<float> moment = stage.moments.undamped();
    inputs.moment = moment;
    SecondFactorSums inner =
        second_factor_sums(encoder, rounded, decoder, first.columns(), first.rows(), inputs, source_->pool());
    OrderedMoments own(std::move(inner.moment), second.columns());
    own.damp(options_.damping);
    const auto get = [&](std::int64_t begin, std::int64_t end) -> Result<Rows> {
      const auto part = [&](const std::vector<float>& from) {
        return std::vector<float>(from.begin() + begin * second.columns(), from.begin() + end * second.columns());
      };
      return Rows{part(decoder), part(inner.lacking)};
    };
    KINGLET_CHECK(round_values(second, get, own, store));
  }
  return join(matrix, store);
}

}  // namespace kinglet
