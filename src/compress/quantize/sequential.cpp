#include "compress/quantize/sequential.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/quantize/embedding_moment.h"
#include "compress/quantize/encoder_fit.h"
#include "compress/quantize/hidden_rows.h"
#include "compress/quantize/layer_pass.h"
#include "compress/quantize/matrix_rounder.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr double kEmbeddingDamping = 0.05;  // its moments are no estimate from a text

class Rounding final : public SequentialRounding {
 public:
  Result<void> open(const Checkpoint& source, std::vector<std::vector<TokenId>> windows, int threads);
  void start(TypePlan plan, const SequentialOptions& options) override;
  Result<void> embedding(RoundedStore& store) override;
  Result<void> layer(int index, RoundedStore& store) override;
  Result<void> head(RoundedStore& store) override;
  Workbench& source() override { return *source_; }
  Workbench& target() override { return *target_; }

 private:
  /// Matrices of a layer that read one normed input.
  struct Stage {
    std::vector<std::string_view> kinds;  ///< in the order of rounding
    const Vector* norm;
    const Vector* bias;
    const std::vector<Rows>* ours;  ///< hidden rows before the norm
    const std::vector<Rows>* theirs;
    bool needs_middle = false;  ///< the rows between the halves are made first
  };

  bool linear_residual() const { return has_linear_residual(target_->model().config()); }
  /// Whether the source's layer runs again, window by window, beside ours.
  bool reads_source_inputs() const { return options_.correction != 0 && !linear_residual(); }
  Result<void> embed(Workbench& bench, std::vector<Rows>& hidden) { return embed_windows(bench, windows_, hidden); }
  Result<void> pass(int layer, const LayerPass& what) { return pass_windows(layer, what, windows_); }
  Result<void> query_key_value(int index, RoundedStore& store);
  Result<void> output(int index, RoundedStore& store);
  Result<void> gate_up(int index, RoundedStore& store);
  Result<void> down(int index, RoundedStore& store);
  Result<void> product(int index, TapPoint point, std::string_view kind, RoundedStore& store);
  Result<std::vector<float>> weights_of_sum(int index, TapPoint point, const TensorInfo& tensor,
                                            std::span<const float> before, std::span<const float> inputs) const;
  Result<void> normed_stage(int index, const Stage& stage, RoundedStore& store);
  Result<bool> any_missing(int index, std::span<const std::string_view> kinds, RoundedStore& store);
  Result<void> take_finished(const std::string& name, const RoundedStore& store) {
    return rounder_.take_finished(name, store);
  }
  Result<void> round(const std::string& name, StageSums sums, RoundedStore& store) {
    StageMoments stage(std::move(sums), options_.damping);
    return round(name, stage, store);
  }
  Result<void> round(const std::string& name, StageMoments& stage, RoundedStore& store) {
    KINGLET_CHECK(rounder_.round(name, stage, store));
    return fit_ ? fit_->bias(name, stage.means(), store) : Result<void>();
  }
  Result<void> fit_norm(int index, bool first_half, RoundedStore& store);
  Result<void> encoder_embedding(const std::string& name, RoundedStore& store);
  std::string matrix_name(int layer, std::string_view kind) const {
    return layer_matrix_name(source_->model().config().owner(layer), kind);
  }

  std::unique_ptr<Workbench> source_, target_;
  std::vector<std::vector<TokenId>> windows_;
  std::size_t width_ = 0;
  TypePlan plan_;
  SequentialOptions options_;
  MatrixRounder rounder_{source_, target_, plan_, options_};
  std::optional<EncoderFit> fit_;
  std::vector<Rows> source_in_, source_middle_, source_out_, in_, middle_, out_;
};

Result<void> Rounding::open(const Checkpoint& source, std::vector<std::vector<TokenId>> windows, int threads) {
  const LoadOptions load{.threads = threads};
  const EngineOptions engine{.cache = CacheType::kF16, .max_rows = kSequentialRows};
  KINGLET_TRY(source_, Workbench::open(source, load, engine));
  KINGLET_TRY(target_, Workbench::open(source, load, engine));
  windows_ = std::move(windows);
  std::erase_if(windows_, [](const auto& window) { return window.empty(); });
  if (windows_.empty()) return fail(ErrorCode::kInvalidArgument, "the calibration text is empty");
  for (const auto& window : windows_) {
    if (window.size() > std::size_t{kSequentialRows}) {
      return fail(ErrorCode::kInternal, "a calibration window of " + std::to_string(window.size()) + " tokens");
    }
  }
  width_ = static_cast<std::size_t>(source_->model().config().width);
  return {};
}

void Rounding::start(TypePlan plan, const SequentialOptions& options) {
  plan_ = std::move(plan);
  options_ = options;
  in_.clear();
  fit_.reset();
  if (!options_.fitted.empty()) fit_.emplace(*source_, *target_, windows_, options_.fitted);
}

/// A tied head reads the source's last hidden rows; as an embedding, which is all that an encoder's is, a row counts by
/// its own size alone.
Result<void> Rounding::embedding(RoundedStore& store) {
  const std::string name = "token_embd.weight";
  if (fit_) return encoder_embedding(name, store);
  if (!plan_.contains(name)) return {};
  if (store.finished(name)) return take_finished(name, store);
  StageSums sums(static_cast<std::int64_t>(width_), 0, false, false);
  std::vector<float>& moment = sums.moment.sum();
  if (source_->model().head || !source_->model().config().causal) {
    for (std::size_t i = 0; i < width_; ++i) moment[i * width_ + i] = 1;
    return round(name, std::move(sums), store);
  }
  KINGLET_CHECK(embed(*source_, in_));
  const int layers = static_cast<int>(source_->model().config().layers);
  for (int i = 0; i < layers; ++i) {
    KINGLET_CHECK(source_->page_in(i));
    KINGLET_CHECK(pass(i, {.bench = source_.get(), .from = &in_, .out = &out_}));
    KINGLET_CHECK(source_->page_out(i));
    in_.swap(out_);
  }
  for (Rows& rows : in_) {
    source_->engine().final_norm(rows.data(), static_cast<int>(rows.size() / width_));
    sums.moment.add(rows, rows, source_->pool());
  }
  in_.clear();
  double mean = 0;
  for (std::size_t i = 0; i < width_; ++i) mean += moment[i * width_ + i] / static_cast<double>(width_);
  for (std::size_t i = 0; i < width_; ++i) {
    moment[i * width_ + i] += static_cast<float>(0.01 * options_.embedding_share * mean);
  }
  return round(name, std::move(sums), store);
}

/// Errors of the rows count by what they do to the answers.
Result<void> Rounding::encoder_embedding(const std::string& name, RoundedStore& store) {
  bool planned = false, missing = false;  // whole, or its groups of rows
  for (const TensorInfo* tensor : tensors_of(source_->checkpoint(), name)) {
    planned = planned || rounder_.is_planned(*tensor);
    missing = missing || rounder_.is_missing(*tensor, store);
  }
  if (planned) {
    if (!missing) {
      KINGLET_CHECK(take_finished(name, store));
    } else {
      StageSums sums(static_cast<std::int64_t>(width_), 0, false, false);
      const int layers = static_cast<int>(source_->model().config().layers);
      for (int i = 0; i < layers; ++i) KINGLET_CHECK(source_->page_in(i));
      KINGLET_TRY(sums.moment.sum(), embedding_moment(*source_, windows_));
      for (int i = 0; i < layers; ++i) KINGLET_CHECK(source_->page_out(i));
      StageMoments stage(std::move(sums), kEmbeddingDamping);
      KINGLET_CHECK(rounder_.round(name, stage, store));
    }
  }
  return fit_->embedding(store);
}

/// The norm after a half of a layer (BERT), from the rows that it gives.
Result<void> Rounding::fit_norm(int index, bool first_half, RoundedStore& store) {
  const std::string name = "blk." + std::to_string(index) + (first_half ? ".attn_output_norm" : ".layer_output_norm");
  KINGLET_TRY(const bool done, fit_->take_finished(std::array{name + ".weight", name + ".bias"}, store));
  if (done) return {};
  LayerPass own{.bench = target_.get(), .from = &in_, .middle = &middle_};
  if (!first_half) own.out = &out_;
  KINGLET_CHECK(pass(index, own));
  return fit_->norm(name, first_half ? source_middle_ : source_out_, first_half ? middle_ : out_, store);
}

Result<void> Rounding::head(RoundedStore& store) {
  const std::string name = "output.weight";
  if (!plan_.contains(name)) return {};
  if (store.finished(name)) return take_finished(name, store);
  StageSums sums(static_cast<std::int64_t>(width_), 0, options_.correction != 0, false);
  Rows difference;
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    Rows ours = in_[w], theirs = source_in_[w];
    source_->engine().final_norm(ours.data(), static_cast<int>(ours.size() / width_));
    source_->engine().final_norm(theirs.data(), static_cast<int>(theirs.size() / width_));
    sums.moment.add(ours, ours, source_->pool());
    if (!sums.input_difference) continue;
    subtract(theirs, ours, difference);
    sums.input_difference->add(ours, difference, source_->pool());
  }
  return round(name, std::move(sums), store);
}

Result<void> Rounding::layer(int index, RoundedStore& store) {
  if (index == 0) {
    KINGLET_CHECK(embed(*source_, source_in_));
    KINGLET_CHECK(embed(*target_, in_));
  }
  KINGLET_CHECK(source_->page_in(index));
  KINGLET_CHECK(
      pass(index, {.bench = source_.get(), .from = &source_in_, .middle = &source_middle_, .out = &source_out_}));
  if (!reads_source_inputs()) KINGLET_CHECK(source_->page_out(index));
  KINGLET_CHECK(target_->page_in(index));
  KINGLET_CHECK(query_key_value(index, store));
  KINGLET_CHECK(output(index, store));
  if (fit_) KINGLET_CHECK(fit_norm(index, true, store));
  KINGLET_CHECK(gate_up(index, store));
  KINGLET_CHECK(down(index, store));
  if (fit_) KINGLET_CHECK(fit_norm(index, false, store));
  KINGLET_CHECK(pass(index, {.bench = target_.get(), .from = &in_, .out = &out_}));
  in_.swap(out_);
  source_in_.swap(source_out_);
  for (std::vector<Rows>* done : {&out_, &middle_, &source_out_, &source_middle_}) done->clear();
  if (reads_source_inputs()) KINGLET_CHECK(source_->page_out(index));
  if (!keep_packed) KINGLET_CHECK(target_->page_out(index));
  return {};
}

/// Whether one of these matrices has to be made; puts those that an earlier run has made into their places.
Result<bool> Rounding::any_missing(int index, std::span<const std::string_view> kinds, RoundedStore& store) {
  bool missing = false;
  for (std::string_view kind : kinds) {
    const std::string name = matrix_name(index, kind);
    bool planned = false, all = true;
    for (const TensorInfo* tensor : tensors_of(source_->checkpoint(), name)) {
      planned = planned || rounder_.is_planned(*tensor);
      all = all && !rounder_.is_missing(*tensor, store);
    }
    if (planned && all) KINGLET_CHECK(take_finished(name, store));
    if (fit_) {
      KINGLET_TRY(const bool fitted, fit_->take_finished(std::array{EncoderFit::bias_of(name)}, store));
      all = all && fitted;
    }
    missing = missing || !all;
  }
  return missing;
}

/// Matrices that read the same normed rows: their moments, and what the source's rows have more.
Result<void> Rounding::normed_stage(int index, const Stage& stage, RoundedStore& store) {
  KINGLET_TRY(const bool missing, any_missing(index, stage.kinds, store));
  if (!missing) return {};
  if (stage.needs_middle) KINGLET_CHECK(pass(index, {.bench = target_.get(), .from = &in_, .middle = &middle_}));
  const ModelConfig& config = source_->model().config();
  const auto normed = [&](const Rows& hidden, Rows& out) {
    if (config.post_norm) {
      out = hidden;
    } else {
      normalise(config, *stage.norm, *stage.bias, hidden, out);
    }
  };
  StageSums sums(static_cast<std::int64_t>(width_), 0, options_.correction != 0, false);
  Rows ours, theirs, difference;
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    normed((*stage.ours)[w], ours);
    sums.moment.add(ours, ours, source_->pool());
    if (sums.input_difference) {
      normed((*stage.theirs)[w], theirs);
      subtract(theirs, ours, difference);
      sums.input_difference->add(ours, difference, source_->pool());
    }
    if (fit_) sums.means.add({}, ours, width_, sums.input_difference ? &difference : nullptr, nullptr);
  }
  StageMoments moments(std::move(sums), options_.damping);
  for (std::string_view kind : stage.kinds) KINGLET_CHECK(round(matrix_name(index, kind), moments, store));
  return {};
}

Result<void> Rounding::query_key_value(int index, RoundedStore& store) {
  const LayerWeights& layer = source_->model().layers[static_cast<std::size_t>(index)];
  return normed_stage(index,
                      {.kinds = {"attn_q", "attn_k", "attn_v"},
                       .norm = &layer.attention_norm,
                       .bias = &layer.attention_norm_bias,
                       .ours = &in_,
                       .theirs = &source_in_},
                      store);
}

Result<void> Rounding::gate_up(int index, RoundedStore& store) {
  const LayerWeights& layer = source_->model().layers[static_cast<std::size_t>(index)];
  return normed_stage(index,
                      {.kinds = {"ffn_gate", "ffn_up"},
                       .norm = &layer.feed_forward_norm,
                       .bias = &layer.feed_forward_norm_bias,
                       .ours = &middle_,
                       .theirs = &source_middle_,
                       .needs_middle = true},
                      store);
}

Result<void> Rounding::output(int index, RoundedStore& store) {
  return product(index, TapPoint::kAttended, "attn_output", store);
}

Result<void> Rounding::down(int index, RoundedStore& store) {
  return product(index, TapPoint::kActivated, "ffn_down", store);
}

/// By what the norm after the sum of stream and product (BERT) multiplies each row of it, in the source.
Result<std::vector<float>> Rounding::weights_of_sum(int index, TapPoint point, const TensorInfo& tensor,
                                                    std::span<const float> before,
                                                    std::span<const float> inputs) const {
  const LayerWeights& layer = source_->model().layers[static_cast<std::size_t>(index)];
  const Vector& bias = point == TapPoint::kAttended ? layer.output_bias : layer.down_bias;
  KINGLET_TRY(const std::vector<float> matrix, rounder_.values(tensor));
  Rows sum(before.size());
  multiply_plain(inputs, matrix, tensor.columns(), tensor.rows(), source_->pool(), sum);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += before[i] + (bias.empty() ? 0 : bias[i % width_]);
  return row_weights(sum, width_, source_->model().config().norm);
}

/// A matrix whose product joins the residual stream: what the stream lacks after it, with the matrix still unrounded,
/// is what the rounded one should add. Where a norm follows the sum (BERT) that is what the product lacks for its
/// inputs and what the stream lacks before it; where a norm stands between, the inputs' difference alone.
Result<void> Rounding::product(int index, TapPoint point, std::string_view kind, RoundedStore& store) {
  const std::string name = matrix_name(index, kind);
  KINGLET_TRY(const bool missing, any_missing(index, {&kind, 1}, store));
  if (!missing) return {};
  const bool first_half = point == TapPoint::kAttended, linear = linear_residual();
  const std::vector<const TensorInfo*> tensors = tensors_of(source_->checkpoint(), name);
  const std::int64_t inputs = tensors.front()->columns();
  const bool corrects = options_.correction != 0;
  const bool stream_before = target_->model().config().post_norm;
  StageSums sums(inputs, static_cast<std::int64_t>(width_), corrects && !linear, corrects && (linear || stream_before));
  const std::vector<Rows>& ours = stream_before ? (first_half ? in_ : middle_) : first_half ? middle_ : out_;
  const std::vector<Rows>& theirs = stream_before ? (first_half ? source_in_ : source_middle_)
                                    : first_half  ? source_middle_
                                                  : source_out_;
  // Of a product of factors the sum is not worth the work.
  const bool weighs_sums = options_.weigh_tokens && stream_before && corrects && tensors.size() == 1;
  std::vector<float> weights;  // of the window's rows; none: they count alike
  Rows source_inputs, difference, input_difference;
  LayerPass reference{.bench = source_.get(), .from = &source_in_, .point = point};
  if (!first_half) reference.out = &out_;
  reference.tap = [&](std::size_t, Rows& x) { source_inputs.swap(x); };
  LayerPass own{.bench = target_.get(), .from = &in_, .middle = &middle_, .point = point};
  if (!first_half) own.out = &out_;
  own.tap = [&](std::size_t w, Rows& x) {
    scale_rows(weights, static_cast<std::size_t>(inputs), x);
    sums.moment.add(x, x, source_->pool());
    if (sums.output_difference) {
      subtract(theirs[w], ours[w], difference);
      scale_rows(weights, width_, difference);
      sums.output_difference->add(difference, x, source_->pool());
    }
    if (sums.input_difference) {
      subtract(source_inputs, x, input_difference);
      sums.input_difference->add(x, input_difference, source_->pool());
    }
    if (fit_)
      sums.means.add(weights, x, static_cast<std::size_t>(inputs), sums.input_difference ? &input_difference : nullptr,
                     sums.output_difference ? &difference : nullptr);
  };
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    if (options_.weigh_tokens && linear) weights = row_weights(theirs[w], width_, NormKind::kRms);
    if (sums.input_difference) KINGLET_CHECK(pass_window(index, reference, w, windows_[w]));
    if (weighs_sums) {
      KINGLET_TRY(weights, weights_of_sum(index, point, *tensors.front(), theirs[w], source_inputs));
      scale_rows(weights, static_cast<std::size_t>(inputs), source_inputs);
    }
    KINGLET_CHECK(pass_window(index, own, w, windows_[w]));
  }
  return round(name, std::move(sums), store);
}

}  // namespace

Result<std::unique_ptr<SequentialRounding>> SequentialRounding::create(const Checkpoint& source,
                                                                       std::vector<std::vector<TokenId>> windows,
                                                                       int threads) {
  auto rounding = std::make_unique<Rounding>();
  KINGLET_CHECK(rounding->open(source, std::move(windows), threads));
  return rounding;
}

}  // namespace kinglet
