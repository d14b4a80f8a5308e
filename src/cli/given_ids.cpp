#include "cli/given_ids.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/output.h"
#include "decode/softmax.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 30;

bool is_whole(const ordered_json& value, std::int64_t most) {
  return value.is_number_integer() && value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() <= most;
}

/// Empty where it is none.
TextWindow read_sequence(const ordered_json& value) {
  TextWindow window;
  const ordered_json* ids = &value;
  if (value.is_object()) {
    if (value.size() != 2 || !value.contains("ids") || !value.contains("score_from")) return {};
    ids = &value["ids"];
  }
  if (!ids->is_array()) return {};
  for (const ordered_json& id : *ids) {
    if (!is_whole(id, INT32_MAX)) return {};
    window.ids.push_back(id.get<TokenId>());
  }
  window.score_from = window.ids.size() / 2 + 1;
  if (!value.is_object()) return window;
  const ordered_json& from = value["score_from"];
  if (!is_whole(from, INT32_MAX) || from.get<std::size_t>() < 1) return {};
  window.score_from = from.get<std::size_t>();
  return window;
}

/// NumPy's format 1.0: magic, header length, a Python dictionary padded so that the data starts at a multiple of 64.
std::string npy_header(std::size_t rows, std::size_t columns) {
  static_assert(std::endian::native == std::endian::little);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size() & 0xFF);
  text += static_cast<char>(header.size() >> 8);
  return text + header;
}

}  // namespace

Result<std::vector<TextWindow>> read_ids(const std::string& path) {
  KINGLET_TRY(const std::string text, read_file(path, kMostBytes));
  KINGLET_TRY(const ordered_json value, parse_json(text, path, {.max_bytes = kMostBytes}));
  const auto wrong = [&](const std::string& where) {
    return fail(ErrorCode::kInvalidArgument,
                "expected a list of lists of token ids, or of {\"ids\": […], \"score_from\": N}" + where, "", path);
  };
  if (!value.is_array() || value.empty()) return wrong("");
  std::vector<TextWindow> windows;
  std::size_t offset = 0;
  for (const ordered_json& sequence : value) {
    TextWindow window = read_sequence(sequence);
    if (window.ids.empty()) return wrong(", sequence " + std::to_string(windows.size()) + " is not one");
    window.text_offset = offset;
    offset += window.ids.size();
    windows.push_back(std::move(window));
  }
  return windows;
}

Result<Evaluation> write_logits(Engine& engine, std::span<const TextWindow> windows, const std::string& path,
                                int chunk) {
  const auto start = std::chrono::steady_clock::now();
  const auto vocabulary = static_cast<std::size_t>(engine.model().config().vocabulary);
  std::size_t tokens = 0;
  for (const TextWindow& window : windows) tokens += window.ids.size();
  KINGLET_TRY(auto file, AtomicFile::create(path));
  KINGLET_CHECK(file->write(npy_header(tokens, vocabulary)));
  Evaluation result;
  double squares = 0;
  ProgressBar bar(quiet());
  for (const TextWindow& window : windows) {
    KINGLET_CHECK(
        stream_logits(engine, window.ids, 0, chunk, [&](std::size_t first, int rows, float* logits) -> Result<void> {
          const auto count = static_cast<std::size_t>(rows);
          for (std::size_t i = 0; i < count; ++i) {
            const std::size_t next = first + i + 1;
            if (next < window.score_from || next >= window.ids.size()) continue;
            const std::span<const float> row(logits + i * vocabulary, vocabulary);
            const double nll = log_sum_exp(row) - row[static_cast<std::size_t>(window.ids[next])];
            result.nll += nll;
            squares += nll * nll;
            ++result.tokens;
          }
          result.fed += rows;
          bar.update({.activity = "eval", .done = static_cast<std::uint64_t>(result.fed), .total = tokens});
          return file->write(std::as_bytes(std::span<const float>(logits, count * vocabulary)));
        }));
  }
  bar.finish();
  KINGLET_CHECK(file->commit());
  const double count = std::max<double>(1, static_cast<double>(result.tokens));
  result.nll /= count;
  result.standard_error =
      count > 1 ? std::sqrt(std::max(0.0, squares / count - result.nll * result.nll) / (count - 1)) : 0;
  result.perplexity = std::exp(result.nll);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace kinglet
