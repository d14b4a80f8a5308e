#include "compress/search/window_divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/try.h"
#include "decode/softmax.h"
#include "kinglet/measure.h"

namespace kinglet {
Result<void> WindowDivergence::read_source(std::size_t window) {
  if (!kept_[window].empty()) return {};
  const auto vocabulary = static_cast<std::size_t>(source_.model().config().vocabulary);
  const std::size_t kept = std::min(kTopTokens, vocabulary);
  return stream_logits(source_, windows_[window], 0, 0, [&](std::size_t, int rows, float* logits) -> Result<void> {
    std::vector<TokenId> order(vocabulary);
    for (int r = 0; r < rows; ++r) {
      const float* row = logits + static_cast<std::size_t>(r) * vocabulary;
      for (std::size_t i = 0; i < vocabulary; ++i) order[i] = static_cast<TokenId>(i);
      std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept) - 1, order.end(),
                       [&](TokenId a, TokenId b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
      TopTokens top;
      top.ids.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
      std::sort(top.ids.begin(), top.ids.end());
      for (TokenId id : top.ids) top.logits.push_back(row[id]);
      kept_[window].push_back(std::move(top));
    }
    return {};
  });
}

Result<double> WindowDivergence::sum(Engine& model, std::size_t window) {
  KINGLET_CHECK(read_source(window));
  const auto vocabulary = static_cast<std::size_t>(model.model().config().vocabulary);
  double total_divergence = 0;
  std::vector<float> own;
  const auto read = [&](std::size_t first, int rows, float* logits) -> Result<void> {
    for (int r = 0; r < rows; ++r) {
      const TopTokens& top = kept_[window][first + static_cast<std::size_t>(r)];
      const float* row = logits + static_cast<std::size_t>(r) * vocabulary;
      own.clear();
      for (TokenId id : top.ids) own.push_back(row[id]);
      const double total = log_sum_exp(own), reference = log_sum_exp(top.logits);
      for (std::size_t i = 0; i < own.size(); ++i) {
        const double log_p = top.logits[i] - reference;
        total_divergence += std::exp(log_p) * (log_p - (own[i] - total));
      }
    }
    return {};
  };
  KINGLET_CHECK(stream_logits(model, windows_[window], 0, 0, read));
  return total_divergence;
}

Result<std::vector<double>> WindowDivergence::means(Engine& model, const SearchData& data) {
  std::vector<double> means;
  std::int64_t length = 1;
  for (const auto& window : windows_) length = std::max(length, static_cast<std::int64_t>(window.size()));
  const auto passed = static_cast<std::size_t>((data.first + length - 1) / length);
  std::int64_t read = 0;
  for (std::size_t i = 0; read < data.tokens && i < windows_.size(); ++i) {
    // A stride that shares no factor with most counts spreads neighbours over the text's parts.
    const std::size_t window = (static_cast<std::size_t>(data.generation) * 7 + (passed + i) * 11) % windows_.size();
    KINGLET_TRY(const double total, sum(model, window));
    means.push_back(total / static_cast<double>(windows_[window].size()));
    read += static_cast<std::int64_t>(windows_[window].size());
  }
  return means;
}

Result<double> WindowDivergence::mean(Engine& model, const SearchData& data) {
  KINGLET_TRY(const auto parts, means(model, data));
  return parts.empty() ? 0 : std::accumulate(parts.begin(), parts.end(), 0.0) / static_cast<double>(parts.size());
}

}  // namespace kinglet
