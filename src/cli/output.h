// What commands print: results on standard output, everything else on standard error.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// Text from a file or a model, made safe for a terminal: control characters and ill-formed UTF-8 as \xNN or \u00NN.
/// Line feeds and tabs stay where `keep_lines`.
std::string escape_for_terminal(std::string_view text, bool keep_lines = false);

/// Writes to standard output. kIo where it cannot be written; a reader that closed the pipe is no error (nobody misses
/// the rest) but reports kCancelled with an empty message, so that the command stops.
Result<void> print(std::string_view text);
/// The same and flushes: for text that streams.
Result<void> print_now(std::string_view text);

/// One JSON value and a line feed. Bytes that are not UTF-8 become U+FFFD.
Result<void> print_json(const nlohmann::ordered_json& value);
std::string json_text(const nlohmann::ordered_json& value);

/// A note for the user on standard error: "kinglet: TEXT". Nothing with --quiet (see set_quiet).
void note(std::string_view text);
void set_quiet(bool quiet);
bool quiet();

}  // namespace kinglet
