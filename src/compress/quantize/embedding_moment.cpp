#include "compress/quantize/embedding_moment.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/moments.h"
#include "compress/quantize/hidden_rows.h"
#include "compress/quantize/sequential.h"
#include "decode/random.h"

namespace kinglet {
namespace {

constexpr double kStep = 0.02;  // of the rows' root mean square: small beside it, large beside f32's rounding

/// Texts of one call of the engine, each with the rows of its tokens after the embedding's norm.
class Probe {
 public:
  Probe(Workbench& bench, std::vector<std::vector<TokenId>> texts)
      : bench_(bench), texts_(std::move(texts)), width_(static_cast<std::size_t>(bench.model().config().width)) {
    Random random(1);
    for (const auto& ids : texts_)
      for (std::size_t t = 0; t < ids.size(); ++t) signs_.push_back((random.next() & 1) != 0 ? 1.0f : -1.0f);
  }

  Result<void> start() {
    for (const auto& ids : texts_) {
      std::vector<std::int32_t> positions(ids.size());
      std::iota(positions.begin(), positions.end(), 0);
      const std::size_t at = hidden_.size();
      hidden_.resize(at + ids.size() * width_);
      KINGLET_CHECK(bench_.engine().embed(ids, positions, hidden_.data() + at));
    }
    double squares = 0;
    for (const float value : hidden_) squares += static_cast<double>(value) * value;
    step_ = static_cast<float>(kStep * std::sqrt(squares / static_cast<double>(hidden_.size())));
    return answers(hidden_, base_);
  }

  /// How the answers move with one value of all rows: [texts, width].
  Result<void> moved(std::size_t input, std::vector<float>& difference) {
    Rows hidden = hidden_;
    for (std::size_t t = 0; t < signs_.size(); ++t) hidden[t * width_ + input] += step_ * signs_[t];
    KINGLET_CHECK(answers(hidden, difference));
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = (difference[i] - base_[i]) / step_;
    return {};
  }
  std::size_t outputs() const { return texts_.size() * width_; }

 private:
  /// Pooled and normalised.
  Result<void> answers(Rows hidden, std::vector<float>& out) {
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<Row> rows;
    for (const auto& ids : texts_) {
      KINGLET_TRY(auto sequence, bench_.engine().new_sequence());
      for (std::size_t t = 0; t < ids.size(); ++t) rows.push_back({sequence.get(), static_cast<std::int32_t>(t), -1});
      sequences.push_back(std::move(sequence));
    }
    KINGLET_CHECK(bench_.engine().forward({.rows = rows, .hidden = hidden.data()}));
    bench_.engine().final_norm(hidden.data(), static_cast<int>(rows.size()));
    out.clear();
    std::size_t first = 0;
    for (const auto& ids : texts_) {
      std::vector<double> pooled = this->pooled(std::span(hidden).subspan(first * width_, ids.size() * width_));
      double squares = 0;
      for (const double value : pooled) squares += value * value;
      for (const double value : pooled) out.push_back(static_cast<float>(value / std::sqrt(std::max(squares, 1e-30))));
      first += ids.size();
    }
    return {};
  }

  std::vector<double> pooled(std::span<const float> text) const {
    const std::string& pooling = bench_.model().config().pooling;
    if (pooling == "cls") return {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(width_)};
    if (pooling == "last") return {text.end() - static_cast<std::ptrdiff_t>(width_), text.end()};
    std::vector<double> sum(width_);
    for (std::size_t i = 0; i < text.size(); ++i) sum[i % width_] += text[i];
    return sum;
  }

  Workbench& bench_;
  std::vector<std::vector<TokenId>> texts_;
  std::size_t width_;
  std::vector<float> signs_, base_;
  Rows hidden_;
  float step_ = 0;
};

/// As many windows as one call of the engine takes, spread over all.
std::vector<std::vector<TokenId>> some_texts(const std::vector<std::vector<TokenId>>& windows) {
  std::vector<std::vector<TokenId>> texts;
  std::size_t left = kSequentialRows, tokens = 0;
  for (const auto& window : windows) tokens += window.size();
  const double stride = std::max(1.0, static_cast<double>(tokens) / kSequentialRows);
  for (double at = 0; at < static_cast<double>(windows.size()); at += stride) {
    const std::vector<TokenId>& window = windows[static_cast<std::size_t>(at)];
    if (window.size() > left) continue;
    left -= window.size();
    texts.push_back(window);
  }
  if (texts.empty()) texts.push_back(windows[0]);
  return texts;
}

}  // namespace

Result<std::vector<float>> embedding_moment(Workbench& bench, const std::vector<std::vector<TokenId>>& windows) {
  const auto width = static_cast<std::size_t>(bench.model().config().width);
  MomentSum sum(static_cast<std::int64_t>(width));
  Probe probe(bench, some_texts(windows));
  KINGLET_CHECK(probe.start());
  Rows moved(probe.outputs() * width);  // [outputs, width]
  std::vector<float> difference;
  for (std::size_t i = 0; i < width; ++i) {
    KINGLET_CHECK(probe.moved(i, difference));
    for (std::size_t o = 0; o < difference.size(); ++o) moved[o * width + i] = difference[o];
  }
  sum.add(moved, moved, bench.pool());
  std::vector<float> moment = sum.take();
  // Through the norm: its weight, and about the row's mean; what it divides by counts alike for all values of a row.
  const Vector& weight = bench.model().embedding_norm;
  if (!weight.empty()) {
    for (std::size_t i = 0; i < width; ++i)
      for (std::size_t j = 0; j < width; ++j) moment[i * width + j] *= weight[i] * weight[j];
    std::vector<double> means(width);
    double all = 0;
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = 0; j < width; ++j) means[i] += moment[i * width + j] / static_cast<double>(width);
      all += means[i] / static_cast<double>(width);
    }
    for (std::size_t i = 0; i < width; ++i)
      for (std::size_t j = 0; j < width; ++j)
        moment[i * width + j] = static_cast<float>(moment[i * width + j] - means[i] - means[j] + all);
  }
  return moment;
}

}  // namespace kinglet
