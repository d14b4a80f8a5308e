// Windows of text through one layer of a model, with what is read of them on the way.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "compress/quantize/hidden_rows.h"
#include "compress/workbench.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

struct LayerPass {
  Workbench* bench;
  const std::vector<Rows>* from;        ///< hidden rows of each window at the layer's input
  std::vector<Rows>* middle = nullptr;  ///< gets those between its halves; null: nobody wants them
  std::vector<Rows>* out = nullptr;     ///< gets those after it; null: the feed-forward is skipped
  TapPoint point = TapPoint::kAttentionInput;
  std::function<void(std::size_t window, Rows& tapped)> tap = {};  ///< sees what is read at `point`; may be empty
};

/// One window, whose tokens are `ids`: at most kSequentialRows.
Result<void> pass_window(int layer, const LayerPass& what, std::size_t window, std::span<const TokenId> ids);
Result<void> pass_windows(int layer, const LayerPass& what, std::span<const std::vector<TokenId>> windows);

/// The rows at the first layer's input.
Result<void> embed_windows(Workbench& bench, std::span<const std::vector<TokenId>> windows, std::vector<Rows>& hidden);

}  // namespace kinglet
