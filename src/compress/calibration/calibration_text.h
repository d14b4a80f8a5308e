// The text that a model is calibrated on, as windows of tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

struct CalibrationOptions {
  std::size_t tokens = 32768;  ///< in all; a shorter text gives fewer
  std::size_t window = 512;    ///< tokens a window, at most
  bool lines = false;          ///< each window is a line of the text, with the tokens that the model puts around a text
};
/// Windows as the model reads texts: of its own length (calibration_window), and for encoders, which read whole short
/// texts and whose activations in an excerpt of 512 tokens are others, lines.
Result<CalibrationOptions> calibration_options(const Checkpoint& checkpoint, std::size_t tokens);

/// Lines of 20 bytes or more (headings say little), the long ones cut at a space before byte 400: encoders read a few
/// hundred tokens at most. What follows is another line, or left away.
enum class RestOfLine : std::uint8_t { kNextLine, kLeftAway };
std::vector<std::string_view> lines_to_embed(std::string_view text, RestOfLine rest);

/// One part of the built-in mix (src/compress/calibration/mix) and its share of the tokens.
struct MixPart {
  std::string_view name;
  std::string_view text;
  double share = 0;
};
std::span<const MixPart> calibration_mix();

/// Windows or lines spread evenly over the text (UTF-8; empty: over each part of the built-in mix), each with BOS first
/// where the model adds one. kInvalidArgument where the text has fewer than 16 tokens.
Result<std::vector<std::vector<TokenId>>> calibration_windows(const Tokenizer& tokenizer, std::string_view text,
                                                              const CalibrationOptions& options);

/// Whether the model gives embeddings of whole texts: attention looks both ways.
bool is_encoder(const Checkpoint& checkpoint);

/// Tokens of a window for a model: 512, or its context where that is shorter.
Result<std::size_t> calibration_window(const Checkpoint& checkpoint);

}  // namespace kinglet
