#include "compress/quantize/encoder_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/try.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize/sequential.h"

namespace kinglet {
namespace {

constexpr std::string_view kTypes = "token_types.weight", kPositions = "position_embd.weight";
constexpr std::string_view kEmbeddingNorm = "token_embd_norm";

/// W mean, W read by row.
std::vector<double> product(const Linear& matrix, std::span<const double> mean) {
  constexpr std::int64_t kRows = 64;
  const std::int64_t rows = matrix.outputs();
  std::vector<double> result(static_cast<std::size_t>(rows));
  std::vector<float> part(static_cast<std::size_t>(kRows * matrix.inputs()));
  for (std::int64_t first = 0; first < rows; first += kRows) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(kRows, rows - first)));
    std::iota(ids.begin(), ids.end(), static_cast<std::int32_t>(first));
    matrix.gather(ids, part.data());
    for (std::size_t r = 0; r < ids.size(); ++r) {
      double sum = 0;
      for (std::size_t i = 0; i < mean.size(); ++i) sum += part[r * mean.size() + i] * mean[i];
      result[static_cast<std::size_t>(first) + r] = sum;
    }
  }
  return result;
}

void add_rows(std::span<const float> weights, const Rows& rows, std::vector<double>& sums, std::size_t count) {
  const std::size_t width = rows.size() / count;
  sums.resize(width);
  for (std::size_t t = 0; t < count; ++t) {
    const double w = weights.empty() ? 1 : weights[t];
    for (std::size_t i = 0; i < width; ++i) sums[i] += w * rows[t * width + i];
  }
}

}  // namespace

bool is_fitted(std::string_view tensor) {
  if (tensor == kTypes || tensor == kPositions) return true;
  static constexpr std::string_view kNorms[] = {kEmbeddingNorm, "attn_output_norm", "layer_output_norm"};
  static constexpr std::string_view kBiases[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"};
  const std::size_t dot = tensor.rfind('.');
  if (dot == tensor.npos) return false;
  const std::string_view last = tensor.substr(dot + 1), whole = tensor.substr(0, dot);
  const std::string_view kind = whole.substr(whole.rfind('.') + 1);
  const auto among = [&](auto& kinds) {
    return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
  };
  return last == "bias" ? among(kNorms) || among(kBiases) : last == "weight" && among(kNorms);
}

void StageMeans::add(std::span<const float> weights, const Rows& inputs, std::size_t width,
                     const Rows* input_differences, const Rows* output_differences) {
  const std::size_t count = inputs.size() / width;
  for (std::size_t t = 0; t < count; ++t) {
    const double w = weights.empty() ? 1 : weights[t];
    weight += w * w;
  }
  add_rows(weights, inputs, input, count);
  if (input_differences) add_rows(weights, *input_differences, input_difference, count);
  if (output_differences) add_rows(weights, *output_differences, output_difference, count);
}

Result<std::vector<float>> EncoderFit::values(const std::string& name) const {
  const TensorInfo* tensor = source_.checkpoint().find(name);
  if (tensor == nullptr) return fail(ErrorCode::kCorrupt, "the tensor " + name + " is missing");
  KINGLET_TRY(const TensorData data, source_.checkpoint().data(*tensor));
  std::vector<float> values(static_cast<std::size_t>(tensor->elements()));
  tensor->type->decode(data.bytes.data(), values.size() / static_cast<std::size_t>(tensor->type->block_values),
                       values.data());
  return values;
}

/// Puts a tensor's bytes into the target model.
Result<void> EncoderFit::set(const std::string& name, std::vector<std::byte> bytes) {
  const BlockType& type = *tensors_.at(name);
  if (name == kTypes || name == kPositions) {
    KINGLET_TRY(auto packed, pack_matrix(type, source_.checkpoint().find(name)->shape, own_bytes(std::move(bytes))));
    KINGLET_CHECK(target_.exchange(name, std::move(packed)));
    return {};
  }
  Vector* vector = target_.vector(name);
  if (vector == nullptr) return fail(ErrorCode::kNotFound, "the model has no vector " + name);
  type.decode(bytes.data(), vector->size() / static_cast<std::size_t>(type.block_values), vector->data());
  return {};
}

Result<void> EncoderFit::put(const std::string& name, const std::vector<float>& values, RoundedStore& store) {
  if (!fits(name)) return {};
  const BlockType& type = *tensors_.at(name);
  std::vector<std::byte> bytes(type.row_bytes(values.size()));
  type.encode(values.data(), values.size() / static_cast<std::size_t>(type.block_values), nullptr, bytes.data());
  KINGLET_CHECK(set(name, bytes));
  if (store.finished(name)) return {};
  return store.put({.name = name, .type = &type, .bytes = std::move(bytes), .report = {}});
}

/// All or none, since what is fitted anew starts from the source's values.
Result<bool> EncoderFit::take_finished(std::span<const std::string> names, const RoundedStore& store) {
  for (const std::string& name : names)
    if (fits(name) && !store.finished(name)) return false;
  for (const std::string& name : names) {
    if (!fits(name)) continue;
    KINGLET_TRY(auto bytes, store.read(name));
    KINGLET_CHECK(set(name, std::move(bytes)));
  }
  return true;
}

Result<void> EncoderFit::embed(Workbench& bench, std::size_t window, Rows& hidden) const {
  const std::vector<TokenId>& ids = windows_[window];
  std::vector<std::int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  hidden.resize(ids.size() * width());
  return bench.engine().embed(ids, positions, hidden.data());
}

/// The tables get what rounded rows lack in the mean, and at the places where the text's tokens are the same or alike
/// (its first) what they lack there, as far as it stands out.
Result<void> EncoderFit::tables(RoundedStore& store) {
  const std::string types_name(kTypes), positions_name(kPositions);
  if (!fits(types_name) || !fits(positions_name)) return {};
  const std::size_t width = this->width();
  const auto context = static_cast<std::size_t>(target_.model().config().context);
  std::vector<double> sum(width), sums(context * width), squares(context), counts(context);
  Rows theirs, ours;
  double all = 0;
  for (const std::vector<TokenId>& ids : windows_) {
    theirs.resize(ids.size() * width);
    ours.resize(theirs.size());
    source_.model().embedding->gather(ids, theirs.data());
    target_.model().embedding->gather(ids, ours.data());
    for (std::size_t t = 0; t < ids.size(); ++t) {
      counts[t] += 1;
      for (std::size_t i = 0; i < width; ++i) {
        const double lacks = static_cast<double>(theirs[t * width + i]) - ours[t * width + i];
        sum[i] += lacks;
        sums[t * width + i] += lacks;
        squares[t] += lacks * lacks;
      }
    }
    all += static_cast<double>(ids.size());
  }
  for (double& value : sum) value /= all;
  KINGLET_TRY(std::vector<float> types, values(types_name));
  for (std::size_t i = 0; i < types.size(); ++i) types[i] += static_cast<float>(sum[i % width]);
  KINGLET_TRY(std::vector<float> positions, values(positions_name));
  for (std::size_t p = 0; p < context; ++p) {
    if (counts[p] < 2) continue;
    double size = 0, spread = squares[p] / counts[p];
    for (std::size_t i = 0; i < width; ++i) {
      double& here = sums[p * width + i];
      here /= counts[p];
      spread -= here * here;
      here -= sum[i];
      size += here * here;
    }
    const double share = size > 0 ? std::max(0.0, 1 - spread / (counts[p] - 1) / size) : 0;
    for (std::size_t i = 0; i < width; ++i) positions[p * width + i] += static_cast<float>(share * sums[p * width + i]);
  }
  KINGLET_CHECK(put(types_name, types, store));
  return put(positions_name, positions, store);
}

Result<void> EncoderFit::embedding(RoundedStore& store) {
  const std::string norm(kEmbeddingNorm);
  KINGLET_TRY(const bool done, take_finished(std::array{std::string(kTypes), std::string(kPositions)}, store));
  if (!done) KINGLET_CHECK(tables(store));
  KINGLET_TRY(const bool all, take_finished(std::array{norm + ".weight", norm + ".bias"}, store));
  if (all) return {};
  std::vector<Rows> theirs(windows_.size()), ours(windows_.size());
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    KINGLET_CHECK(embed(source_, w, theirs[w]));
    KINGLET_CHECK(embed(target_, w, ours[w]));
  }
  return this->norm(norm, theirs, ours, store);
}

std::string EncoderFit::bias_of(std::string_view matrix) {
  return std::string(matrix.substr(0, matrix.rfind('.'))) + ".bias";
}

Result<void> EncoderFit::bias(const std::string& matrix, const StageMeans& means, RoundedStore& store) {
  const std::string name = bias_of(matrix);
  if (!fits(name) || !(means.weight > 0)) return {};
  std::vector<double> ours = means.input, theirs = means.input;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (!means.input_difference.empty()) theirs[i] += means.input_difference[i];
    ours[i] /= means.weight;
    theirs[i] /= means.weight;
  }
  const std::vector<double> got = product(*target_.linear(matrix), ours),
                            wanted = product(*source_.linear(matrix), theirs);
  KINGLET_TRY(std::vector<float> bias, values(name));
  for (std::size_t o = 0; o < bias.size(); ++o) {
    const double before = means.output_difference.empty() ? 0 : means.output_difference[o] / means.weight;
    bias[o] += static_cast<float>(wanted[o] + before - got[o]);
  }
  return put(name, bias, store);
}

/// The best line through what each value is here and in the source.
Result<void> EncoderFit::norm(const std::string& name, const std::vector<Rows>& theirs, const std::vector<Rows>& ours,
                              RoundedStore& store) {
  struct Sums {
    double x = 0, y = 0, xx = 0, xy = 0;
  };
  std::vector<Sums> sums(width());
  double rows = 0;
  for (std::size_t w = 0; w < ours.size(); ++w) {
    for (std::size_t at = 0; at < ours[w].size(); ++at) {
      const double x = ours[w][at], y = theirs[w][at];
      Sums& to = sums[at % width()];
      to.x += x;
      to.y += y;
      to.xx += x * x;
      to.xy += x * y;
    }
    rows += static_cast<double>(ours[w].size() / width());
  }
  KINGLET_TRY(std::vector<float> weight, values(name + ".weight"));
  KINGLET_TRY(std::vector<float> bias, values(name + ".bias"));
  for (std::size_t i = 0; i < width(); ++i) {
    const Sums& s = sums[i];
    const double variance = s.xx - s.x * s.x / rows, common = s.xy - s.x * s.y / rows;
    const double slope = variance > 1e-12 * s.xx ? common / variance : 1;
    bias[i] = static_cast<float>(slope * bias[i] + (s.y - slope * s.x) / rows);
    weight[i] = static_cast<float>(slope * weight[i]);
  }
  KINGLET_CHECK(put(name + ".weight", weight, store));
  return put(name + ".bias", bias, store);
}

}  // namespace kinglet
