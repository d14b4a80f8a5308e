#include "measure/layer_similarity.h"

#include <algorithm>
#include <cmath>

#include "base/try.h"

namespace kinglet {
namespace {

double dot(const float* a, const float* b, std::size_t count) {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += static_cast<double>(a[i + lane]) * b[i + lane];
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// Adds the cosines of one call's rows at all depths.
void add_cosines(const std::vector<std::vector<float>>& depths, std::size_t width, std::vector<double>& sums) {
  const std::size_t count = depths.size(), rows = depths[0].size() / width;
  std::vector<double> norms(count);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto at = [&](std::size_t depth) { return depths[depth].data() + row * width; };
    for (std::size_t d = 0; d < count; ++d) norms[d] = std::sqrt(dot(at(d), at(d), width));
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = a; b < count; ++b) {
        const double size = norms[a] * norms[b];
        const double cosine = a == b ? 1 : size > 0 ? dot(at(a), at(b), width) / size : 0;
        sums[a * count + b] += cosine;
        if (a != b) sums[b * count + a] += cosine;
      }
    }
  }
}

}  // namespace

Result<std::vector<std::vector<float>>> hidden_depths(Engine& engine, Sequence& sequence, std::span<const TokenId> ids,
                                                      std::int32_t first) {
  std::vector<Row> rows;
  std::vector<std::int32_t> positions;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    positions.push_back(first + static_cast<std::int32_t>(i));
    rows.push_back({&sequence, positions.back()});
  }
  std::vector<float> hidden(ids.size() * static_cast<std::size_t>(engine.model().config().width));
  KINGLET_CHECK(engine.embed(ids, positions, hidden.data()));
  std::vector<std::vector<float>> depths{hidden};
  ForwardHooks hooks;
  hooks.after_layer = [&](int, std::span<float> rows_after) {
    depths.emplace_back(rows_after.begin(), rows_after.end());
  };
  KINGLET_CHECK(engine.forward({.rows = rows, .hidden = hidden.data(), .hooks = &hooks}));
  return depths;
}

Result<LayerSimilarity> measure_layer_similarity(Engine& engine, const std::vector<std::vector<TokenId>>& windows,
                                                 const std::function<bool(double share)>& go_on) {
  LayerSimilarity similarity;
  similarity.layers = static_cast<int>(engine.model().config().layers);
  const auto width = static_cast<std::size_t>(engine.model().config().width);
  const std::size_t count = static_cast<std::size_t>(similarity.layers) + 1;
  similarity.cosines.assign(count * count, 0);
  std::size_t tokens = 0, done = 0;
  const auto most = static_cast<std::size_t>(engine.options().max_rows);
  for (const std::vector<TokenId>& window : windows) {
    if (go_on && !go_on(static_cast<double>(done++) / static_cast<double>(windows.size())))
      return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_TRY(auto sequence, engine.new_sequence());
    for (std::size_t begin = 0; begin < window.size(); begin += most) {
      const std::size_t rows = std::min(most, window.size() - begin);
      KINGLET_TRY(const auto depths, hidden_depths(engine, *sequence, std::span(window).subspan(begin, rows),
                                                   static_cast<std::int32_t>(begin)));
      add_cosines(depths, width, similarity.cosines);
      tokens += rows;
    }
  }
  if (tokens == 0) return fail(ErrorCode::kInvalidArgument, "there is no text to compare layers on");
  for (double& cosine : similarity.cosines) cosine /= static_cast<double>(tokens);
  return similarity;
}

}  // namespace kinglet
