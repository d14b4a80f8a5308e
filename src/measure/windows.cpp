#include <algorithm>
#include <string>

#include "kinglet/measure.h"

namespace kinglet {

Result<std::vector<TextWindow>> make_windows(std::span<const TokenId> ids, const Tokenizer& tokenizer,
                                             const WindowOptions& options) {
  if (options.context < 4)
    return fail(ErrorCode::kInvalidArgument,
                "a window has " + std::to_string(options.context) + " tokens, expected 4 or more");
  if (options.stride < 0 || options.stride > options.context)
    return fail(ErrorCode::kInvalidArgument, "the stride is " + std::to_string(options.stride) + ", expected 1 to " +
                                                 std::to_string(options.context));
  if (ids.size() < 3)
    return fail(ErrorCode::kInvalidArgument,
                "the text has " + std::to_string(ids.size()) + " tokens, expected 3 or more", "Give a longer text.");
  const auto context = static_cast<std::size_t>(options.context), stride = static_cast<std::size_t>(options.stride);
  std::vector<TextWindow> windows;
  const auto add = [&](std::size_t begin, std::size_t end, std::size_t score_from) {
    TextWindow window{
        .ids = {ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end)},
        .score_from = std::max<std::size_t>(score_from - begin, 1),
        .text_offset = begin};
    if (tokenizer.adds_bos && tokenizer.bos >= 0) window.ids[0] = tokenizer.bos;
    windows.push_back(std::move(window));
  };
  if (stride == 0) {
    const std::size_t size = std::min(context, ids.size());
    for (std::size_t begin = 0; begin + size <= ids.size(); begin += size)
      add(begin, begin + size, begin + size / 2 + 1);
    return windows;
  }
  std::size_t scored = 1;  // tokens before this one have been scored (the first never is)
  for (std::size_t begin = 0; scored < ids.size(); begin += stride) {
    const std::size_t end = std::min(begin + context, ids.size());
    if (scored < end) add(begin, end, scored);
    scored = std::max(scored, end);
  }
  return windows;
}

}  // namespace kinglet
