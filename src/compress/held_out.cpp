#include "compress/held_out.h"

#include <algorithm>

namespace kinglet {
namespace {

constexpr std::size_t kPiece = 6000;  // about 1,500 tokens: several windows of 512 fit into each

/// Where a piece that should end at `end` may end: after a line feed, or a space.
std::size_t end_of_piece(std::string_view text, std::size_t begin, std::size_t end) {
  if (end >= text.size()) return text.size();
  for (const char letter : {'\n', ' '}) {
    const std::size_t found = text.rfind(letter, end);
    if (found != std::string_view::npos && found > begin + (end - begin) / 2) return found + 1;
  }
  while (end > begin + 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

}  // namespace

SplitText split_text(std::string_view text) {
  SplitText split;
  if (text.size() < 5 * kPiece) {
    const std::size_t cut = end_of_piece(text, 0, text.size() - text.size() / 5);
    split.calibration = text.substr(0, cut);
    split.held_out = text.substr(cut);
    return split;
  }
  int piece = 0;
  for (std::size_t begin = 0; begin < text.size(); ++piece) {
    const std::size_t end = end_of_piece(text, begin, begin + kPiece);
    (piece % 5 == 4 ? split.held_out : split.calibration) += text.substr(begin, end - begin);
    begin = end;
  }
  return split;
}

}  // namespace kinglet
