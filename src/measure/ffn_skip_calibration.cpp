// Which layers may skip, and from which similarity on: measured by decoding a text token by token.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/interrupt.h"
#include "base/try.h"
#include "decode/softmax.h"
#include "engine/skip_hooks.h"
#include "kinglet/engine.h"
#include "kinglet/ffn_skip.h"

namespace kinglet {
namespace {

/// The paper's cold regions, as shares of the layers.
constexpr double kColdStart = 0.1, kColdEnd = 0.05;
constexpr int kBisections = 8;

class Calibration {
 public:
  Calibration(std::shared_ptr<const Model> model, std::span<const TokenId> ids, const SkipCalibration& how)
      : model_(std::move(model)), how_(how), layers_(model_->config().layers) {
    const auto size = static_cast<std::size_t>(how.window);
    for (std::size_t begin = 0; begin + size <= ids.size() && std::ssize(windows_) < how.windows; begin += size)
      windows_.push_back(ids.subspan(begin, size));
  }

  Result<std::unique_ptr<FeedForwardSkip>> run();

 private:
  Result<void> measure_similarity(FeedForwardSkip& skip);
  Result<SkipPoint> decode(const FeedForwardSkip& skip);
  Result<void> bisect(FeedForwardSkip& skip);
  void choose_off(FeedForwardSkip& skip) const;
  Result<std::unique_ptr<Engine>> engine(std::shared_ptr<const FeedForwardSkip> skip, int rows) const {
    return Engine::create(model_, {.context = how_.window, .max_rows = rows, .ffn_skip = std::move(skip)});
  }

  std::shared_ptr<const Model> model_;
  const SkipCalibration& how_;
  std::int64_t layers_;
  std::vector<std::span<const TokenId>> windows_;
};

/// Mean cosine of a row before and after each feed-forward, without skips. A prompt's rows are those of decoding.
Result<void> Calibration::measure_similarity(FeedForwardSkip& skip) {
  KINGLET_TRY(auto engine, this->engine(nullptr, how_.window));
  const auto width = static_cast<std::size_t>(model_->config().width);
  std::vector<float> hidden(static_cast<std::size_t>(how_.window) * width), before(hidden.size());
  std::vector<double> sums(static_cast<std::size_t>(layers_));
  const auto first = static_cast<std::size_t>(std::min(how_.warm_up, how_.window - 1));
  ForwardHooks hooks;
  hooks.feed_forward = [&](int, std::span<const float> rows, std::span<std::uint8_t>) {
    std::copy(rows.begin(), rows.end(), before.begin());
  };
  hooks.after_layer = [&](int layer, std::span<float> rows) {
    for (std::size_t i = first; i < rows.size() / width; ++i)
      sums[static_cast<std::size_t>(layer)] +=
          cosine(std::span(before).subspan(i * width, width), rows.subspan(i * width, width));
  };
  for (const auto window : windows_) {
    KINGLET_TRY(auto sequence, engine->new_sequence());
    std::vector<Row> rows;
    for (std::size_t i = 0; i < window.size(); ++i) rows.push_back({sequence.get(), static_cast<std::int32_t>(i)});
    KINGLET_CHECK(engine->embed(window, {}, hidden.data()));
    KINGLET_CHECK(engine->forward({.rows = rows, .hidden = hidden.data(), .hooks = &hooks}));
  }
  const double count =
      static_cast<double>(windows_.size()) * static_cast<double>(how_.window - static_cast<int>(first));
  for (const double sum : sums) skip.similarity.push_back(sum / count);
  return {};
}

/// All windows side by side, one token of each in a pass.
Result<SkipPoint> Calibration::decode(const FeedForwardSkip& skip) {
  if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
  const auto own = std::make_shared<const FeedForwardSkip>(skip);
  const auto count = windows_.size(), vocabulary = static_cast<std::size_t>(model_->config().vocabulary);
  KINGLET_TRY(auto engine, this->engine(own, static_cast<int>(count)));
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (std::size_t i = 0; i < count; ++i) {
    KINGLET_TRY(auto sequence, engine->new_sequence());
    sequences.push_back(std::move(sequence));
  }
  std::vector<float> logits(count * vocabulary);
  std::vector<std::int32_t> wanted(count);
  std::iota(wanted.begin(), wanted.end(), 0);
  SkipPoint point{.threshold = skip.threshold};
  std::int64_t scored = 0;
  for (std::int32_t at = 0; at + 1 < how_.window; ++at) {
    std::vector<Row> rows;
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < count; ++i) {
      rows.push_back({sequences[i].get(), at});
      ids.push_back(windows_[i][static_cast<std::size_t>(at)]);
    }
    const bool scores = at >= how_.warm_up;
    KINGLET_CHECK(engine->step(
        rows, ids, scores ? std::span<const std::int32_t>(wanted) : std::span<const std::int32_t>(), logits.data()));
    for (std::size_t i = 0; scores && i < count; ++i, ++scored) {
      const std::span<const float> row(logits.data() + i * vocabulary, vocabulary);
      const TokenId next = windows_[i][static_cast<std::size_t>(at) + 1];
      point.nll += log_sum_exp(row) - static_cast<double>(row[static_cast<std::size_t>(next)]);
    }
  }
  const double all = static_cast<double>(own->ran + own->skipped);
  point.share = all > 0 ? static_cast<double>(own->skipped) / all : 0;
  point.nll /= static_cast<double>(std::max<std::int64_t>(scored, 1));
  return point;
}

/// Lower thresholds skip more.
Result<void> Calibration::bisect(FeedForwardSkip& skip) {
  double low = *std::ranges::min_element(skip.similarity) - 0.1, high = 1;
  for (int i = 0; i < kBisections; ++i) {
    skip.threshold = (low + high) / 2;
    KINGLET_TRY(const SkipPoint point, decode(skip));
    skip.curve.push_back(point);
    if (how_.progress) how_.progress(i + 1, kBisections);
    (point.share > how_.ratio ? low : high) = skip.threshold;
  }
  const auto nearest =
      std::ranges::min_element(skip.curve.begin() + 1, skip.curve.end(), {},
                               [&](const SkipPoint& point) { return std::abs(point.share - how_.ratio); });
  skip.threshold = nearest->threshold;
  if (std::abs(nearest->share - how_.ratio) > 0.05)
    return fail(ErrorCode::kInvalidArgument,
                "no threshold skips about " + std::to_string(how_.ratio) + " of the feed-forwards; the nearest skips " +
                    std::to_string(nearest->share),
                "Give another --ratio, or a larger --probe.");
  return {};
}

/// The warm layers that change rows least, as many as the ratio asks for.
void Calibration::choose_off(FeedForwardSkip& skip) const {
  std::vector<std::size_t> warm;
  for (std::size_t i = 0; i < skip.cold.size(); ++i)
    if (skip.cold[i] == 0) warm.push_back(i);
  std::ranges::sort(warm, [&](std::size_t a, std::size_t b) { return skip.similarity[a] > skip.similarity[b]; });
  const auto count = static_cast<std::size_t>(std::lround(how_.ratio * static_cast<double>(layers_)));
  for (std::size_t i = 0; i < std::min(count, warm.size()); ++i) skip.off[warm[i]] = 1;
}

Result<std::unique_ptr<FeedForwardSkip>> Calibration::run() {
  if (!(how_.ratio > 0 && how_.ratio <= 0.6))
    return fail(ErrorCode::kInvalidArgument, "the ratio is " + std::to_string(how_.ratio) + ", expected 0 to 0.6");
  if (windows_.empty() || how_.warm_up + 16 > how_.window)
    return fail(ErrorCode::kInvalidArgument,
                "the text is too short: one window has " + std::to_string(how_.window) +
                    " tokens, of which the first " + std::to_string(how_.warm_up) + " are the warm-up",
                "Give a longer text.");
  auto skip = std::make_unique<FeedForwardSkip>();
  skip->rule = how_.rule;
  skip->probe = how_.probe;
  skip->warm_up = how_.warm_up;
  skip->cold.assign(static_cast<std::size_t>(layers_), 0);
  skip->off.assign(static_cast<std::size_t>(layers_), 0);
  const auto start = static_cast<std::int64_t>(std::ceil(kColdStart * static_cast<double>(layers_)));
  const auto end = static_cast<std::int64_t>(std::ceil(kColdEnd * static_cast<double>(layers_)));
  if (start + end >= layers_) return fail(ErrorCode::kUnsupported, "a model of so few layers has none that may skip");
  std::fill_n(skip->cold.begin(), start, 1);
  std::fill_n(skip->cold.rbegin(), end, 1);
  KINGLET_CHECK(measure_similarity(*skip));
  KINGLET_TRY(SkipPoint dense, decode(*skip));  // the threshold is above 1, the others have nothing switched off yet
  dense.share = 0;
  skip->curve.push_back(dense);
  if (how_.rule == SkipRule::kAdaptive) {
    KINGLET_CHECK(bisect(*skip));
    return skip;
  }
  skip->chance = std::min(1.0, how_.ratio * static_cast<double>(layers_) / static_cast<double>(layers_ - start - end));
  choose_off(*skip);
  KINGLET_TRY(const SkipPoint point, decode(*skip));
  skip->curve.push_back(point);
  return skip;
}

}  // namespace

Result<std::unique_ptr<FeedForwardSkip>> calibrate_ffn_skip(const std::shared_ptr<const Model>& model,
                                                            std::span<const TokenId> ids, const SkipCalibration& how) {
  return Calibration(model, ids, how).run();
}

}  // namespace kinglet
