#include "compress/quantize/layer_pass.h"

#include <algorithm>
#include <numeric>

#include "base/try.h"

namespace kinglet {

Result<void> pass_window(int layer, const LayerPass& what, std::size_t window, std::span<const TokenId> ids) {
  Rows tapped;
  ForwardHooks hooks;
  if (what.tap) {
    hooks.linear_input = [&](int, TapPoint point, std::span<const float> values) {
      if (point == what.point) tapped.assign(values.begin(), values.end());
    };
  }
  if (what.middle != nullptr && what.middle->size() <= window) what.middle->resize(what.from->size());
  if (what.out != nullptr && what.out->size() <= window) what.out->resize(what.from->size());
  hooks.feed_forward = [&](int, std::span<const float> values, std::span<std::uint8_t> run) {
    if (what.middle != nullptr) (*what.middle)[window].assign(values.begin(), values.end());
    if (what.out == nullptr) std::fill(run.begin(), run.end(), std::uint8_t{0});
  };
  KINGLET_TRY(auto sequence, what.bench->engine().new_sequence());
  std::vector<Row> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) rows.push_back({sequence.get(), static_cast<std::int32_t>(i), -1});
  Rows hidden = (*what.from)[window];
  KINGLET_CHECK(what.bench->engine().forward(
      {.rows = rows, .hidden = hidden.data(), .layer_begin = layer, .layer_end = layer + 1, .hooks = &hooks}));
  if (what.out != nullptr) (*what.out)[window] = std::move(hidden);
  if (what.tap) what.tap(window, tapped);
  return {};
}

Result<void> pass_windows(int layer, const LayerPass& what, std::span<const std::vector<TokenId>> windows) {
  for (std::size_t w = 0; w < windows.size(); ++w) KINGLET_CHECK(pass_window(layer, what, w, windows[w]));
  return {};
}

Result<void> embed_windows(Workbench& bench, std::span<const std::vector<TokenId>> windows, std::vector<Rows>& hidden) {
  const auto width = static_cast<std::size_t>(bench.model().config().width);
  hidden.resize(windows.size());
  std::vector<std::int32_t> positions;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    positions.resize(windows[w].size());
    std::iota(positions.begin(), positions.end(), 0);
    hidden[w].resize(windows[w].size() * width);
    KINGLET_CHECK(bench.engine().embed(windows[w], positions, hidden[w].data()));
  }
  return {};
}

}  // namespace kinglet
