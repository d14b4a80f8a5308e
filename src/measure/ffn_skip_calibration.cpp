// Which layers may skip, and from which similarity on: measured by decoding a text token by token.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

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
constexpr int kBisections = 10;
/// A share this near to the wanted one is met.
constexpr double kNear = 0.002;
/// Every how many tokens one is scored where a layer's cost is measured.
constexpr std::size_t kScored = 3;

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
  using WindowReader =
      std::function<Result<void>(Engine& engine, std::span<const TokenId> window, std::span<const float> hidden)>;
  Result<void> read_windows(const ForwardHooks& hooks, const WindowReader& then);
  Result<void> measure_similarity(FeedForwardSkip& skip);
  Result<double> cost_without(int layer);
  Result<std::vector<std::size_t>> rank_by_cost(const FeedForwardSkip& skip);
  Result<SkipPoint> decode(const FeedForwardSkip& skip);
  Result<SkipPoint> bisect(FeedForwardSkip& skip);
  Result<void> adapt(FeedForwardSkip& skip);
  Result<std::vector<std::size_t>> exchange(FeedForwardSkip& skip, const SkipPoint& start,
                                            std::vector<std::size_t> order);
  std::size_t width() const { return static_cast<std::size_t>(model_->config().width); }
  void advance() {
    if (how_.progress) how_.progress(++done_, expected_);
  }
  void choose_off(FeedForwardSkip& skip) const;
  Result<std::unique_ptr<Engine>> engine(std::shared_ptr<const FeedForwardSkip> skip, int rows) const {
    return Engine::create(model_, {.context = how_.window, .max_rows = rows, .ffn_skip = std::move(skip)});
  }

  std::shared_ptr<const Model> model_;
  const SkipCalibration& how_;
  std::int64_t layers_;
  std::vector<std::span<const TokenId>> windows_;
  int done_ = 0, expected_ = 0;
};

/// Each window in one pass, as a prompt without skips of its own; its rows are those of decoding.
Result<void> Calibration::read_windows(const ForwardHooks& hooks, const WindowReader& then) {
  KINGLET_TRY(auto engine, this->engine(nullptr, how_.window));
  std::vector<float> hidden(static_cast<std::size_t>(how_.window) * width());
  for (const auto window : windows_) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_TRY(auto sequence, engine->new_sequence());
    std::vector<Row> rows;
    for (std::size_t i = 0; i < window.size(); ++i) rows.push_back({sequence.get(), static_cast<std::int32_t>(i)});
    KINGLET_CHECK(engine->embed(window, {}, hidden.data()));
    KINGLET_CHECK(engine->forward({.rows = rows, .hidden = hidden.data(), .hooks = &hooks}));
    if (then) KINGLET_CHECK(then(*engine, window, hidden));
  }
  return {};
}

/// Mean cosine of a row before and after each feed-forward, without skips.
Result<void> Calibration::measure_similarity(FeedForwardSkip& skip) {
  std::vector<float> before(static_cast<std::size_t>(how_.window) * width());
  std::vector<double> sums(static_cast<std::size_t>(layers_));
  const auto first = static_cast<std::size_t>(std::min(how_.warm_up, how_.window - 1));
  ForwardHooks hooks;
  hooks.feed_forward = [&](int, std::span<const float> rows, std::span<std::uint8_t>) {
    std::copy(rows.begin(), rows.end(), before.begin());
  };
  hooks.after_layer = [&](int layer, std::span<float> rows) {
    for (std::size_t i = first; i < rows.size() / width(); ++i)
      sums[static_cast<std::size_t>(layer)] +=
          cosine(std::span(before).subspan(i * width(), width()), rows.subspan(i * width(), width()));
  };
  KINGLET_CHECK(read_windows(hooks, {}));
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

/// Nats a token where the layer's feed-forward alone is left out.
Result<double> Calibration::cost_without(int layer) {
  const auto vocabulary = static_cast<std::size_t>(model_->config().vocabulary);
  ForwardHooks hooks;
  hooks.feed_forward = [&](int at, std::span<const float>, std::span<std::uint8_t> run) {
    if (at == layer) std::ranges::fill(run, 0);
  };
  std::vector<float> scored, logits;
  std::vector<TokenId> targets;
  double sum = 0;
  std::size_t count = 0;
  KINGLET_CHECK(
      read_windows(hooks, [&](Engine& engine, std::span<const TokenId> window, std::span<const float> hidden) {
        scored.clear();
        targets.clear();
        for (auto i = static_cast<std::size_t>(how_.warm_up); i + 1 < window.size(); i += kScored) {
          const auto row = hidden.subspan(i * width(), width());
          scored.insert(scored.end(), row.begin(), row.end());
          targets.push_back(window[i + 1]);
        }
        logits.resize(targets.size() * vocabulary);
        auto done = engine.head(scored.data(), static_cast<int>(targets.size()), {}, logits.data());
        for (std::size_t i = 0; done && i < targets.size(); ++i) {
          const std::span<const float> row(logits.data() + i * vocabulary, vocabulary);
          sum += log_sum_exp(row) - static_cast<double>(row[static_cast<std::size_t>(targets[i])]);
        }
        count += targets.size();
        return done;
      }));
  advance();
  return sum / static_cast<double>(std::max<std::size_t>(count, 1));
}

/// The layers that may skip, the cheapest to leave out first.
Result<std::vector<std::size_t>> Calibration::rank_by_cost(const FeedForwardSkip& skip) {
  std::vector<std::pair<double, std::size_t>> costs;
  for (std::size_t layer = 0; layer < skip.cold.size(); ++layer) {
    if (skip.cold[layer] != 0) continue;
    KINGLET_TRY(const double cost, cost_without(static_cast<int>(layer)));
    costs.emplace_back(cost, layer);
  }
  std::ranges::sort(costs);
  std::vector<std::size_t> order;
  for (const auto& [cost, layer] : costs) order.push_back(layer);
  return order;
}

/// The threshold whose share is nearest to the wanted one. Lower thresholds skip more.
Result<SkipPoint> Calibration::bisect(FeedForwardSkip& skip) {
  double low = 1, high = 1;
  for (std::size_t i = 0; i < skip.cold.size(); ++i)
    if (skip.cold[i] == 0) low = std::min(low, skip.similarity[i] - 0.1);
  SkipPoint nearest{.threshold = 2, .share = 0};
  for (int i = 0; i < kBisections && std::abs(nearest.share - how_.ratio) > kNear; ++i) {
    skip.threshold = (low + high) / 2;
    KINGLET_TRY(const SkipPoint point, decode(skip));
    skip.curve.push_back(point);
    advance();
    (point.share > how_.ratio ? low : high) = skip.threshold;
    if (std::abs(point.share - how_.ratio) < std::abs(nearest.share - how_.ratio)) nearest = point;
  }
  skip.threshold = nearest.threshold;
  return nearest;
}

/// Nats that a point would have at the wanted share, by the slope of a curve between its two points nearest to it.
class AtShare {
 public:
  AtShare(std::vector<SkipPoint> curve, double share) : share_(share) {
    std::ranges::sort(curve, {}, [&](const SkipPoint& point) { return std::abs(point.share - share); });
    for (std::size_t i = 1; i < curve.size() && slope_ == 0; ++i)
      if (std::abs(curve[i].share - curve[0].share) > kNear)
        slope_ = std::max(0.0, (curve[i].nll - curve[0].nll) / (curve[i].share - curve[0].share));
  }
  double nll(const SkipPoint& point) const { return point.nll - slope_ * (point.share - share_); }

 private:
  double share_, slope_ = 0;
};

/// Exchanges warm layers for costly ones where the text gains, those of like cost first. Returns `order` with the
/// layers exchanged: its first, as many as were warm, are warm now.
Result<std::vector<std::size_t>> Calibration::exchange(FeedForwardSkip& skip, const SkipPoint& start,
                                                       std::vector<std::size_t> order) {
  const AtShare at_share(skip.curve, how_.ratio);
  double best = at_share.nll(start);
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t warm = 0; warm < order.size(); ++warm)
    for (std::size_t cold = warm + 1; cold < order.size(); ++cold)
      if (skip.cold[order[warm]] == 0 && skip.cold[order[cold]] != 0) pairs.emplace_back(warm, cold);
  std::ranges::sort(pairs, {}, [](const auto& pair) { return std::pair(pair.second - pair.first, pair.first); });
  for (std::size_t i = 0; i < std::min(pairs.size(), static_cast<std::size_t>(how_.exchanges)); ++i) {
    auto &warm = order[pairs[i].first], &cold = order[pairs[i].second];
    std::swap(skip.cold[warm], skip.cold[cold]);
    KINGLET_TRY(const SkipPoint point, decode(skip));
    advance();
    const double nll = at_share.nll(point);
    if (nll < best) {
      best = nll;
      std::swap(warm, cold);
    } else {
      std::swap(skip.cold[warm], skip.cold[cold]);
    }
  }
  return order;
}

/// Which layers are cold, and the threshold: of several numbers of warm layers, the one that costs the text least.
Result<void> Calibration::adapt(FeedForwardSkip& skip) {
  const auto ends = skip.cold;
  const auto warm = static_cast<std::size_t>(std::ranges::count(ends, 0));
  std::vector<std::size_t> order, sizes = {warm};
  if (how_.costly_are_cold) {
    expected_ = static_cast<int>(warm) + 4 * kBisections + how_.exchanges;
    KINGLET_TRY(order, rank_by_cost(skip));
    // Of the warm layers at most probe in probe + 1 can be skipped, and not the first.
    const double most = how_.probe > 0 ? static_cast<double>(how_.probe) / (how_.probe + 1) : 1;
    const auto least = static_cast<std::size_t>(std::ceil(how_.ratio * static_cast<double>(layers_) / most)) + 1;
    for (const std::size_t size : {(least + warm) / 2, least})
      if (size < sizes.back()) sizes.push_back(size);
  } else {
    expected_ = kBisections;
  }
  std::optional<SkipPoint> best;
  std::vector<std::uint8_t> cold;
  std::vector<SkipPoint> curve;
  for (const std::size_t size : sizes) {
    skip.cold = ends;
    skip.curve.resize(1);  // the point without skips
    for (std::size_t i = size; i < order.size(); ++i) skip.cold[order[i]] = 1;
    KINGLET_TRY(const SkipPoint point, bisect(skip));
    const auto off = [&](const SkipPoint& one) { return std::abs(one.share - how_.ratio) > 0.02; };
    if (!best || (off(*best) && !off(point)) || (off(*best) == off(point) && point.nll < best->nll))
      best = point, cold = skip.cold, curve = skip.curve;
  }
  skip.cold = cold;
  skip.curve = curve;
  skip.threshold = best->threshold;
  if (how_.costly_are_cold && how_.exchanges > 0) {
    KINGLET_TRY(order, exchange(skip, *best, std::move(order)));
    if (skip.cold != cold) {
      skip.curve.resize(1);
      KINGLET_TRY(best, bisect(skip));
    }
  }
  if (std::abs(best->share - how_.ratio) > 0.05)
    return fail(ErrorCode::kInvalidArgument,
                "no threshold skips about " + std::to_string(how_.ratio) + " of the feed-forwards; the nearest skips " +
                    std::to_string(best->share),
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
    KINGLET_CHECK(adapt(*skip));
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
