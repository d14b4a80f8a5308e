#include "measure/embedding.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/try.h"

namespace kinglet {
namespace {

// All hidden rows of the text, after the last layer and its norm.
Result<std::vector<float>> hidden_rows(Engine& engine, std::span<const TokenId> ids) {
  const auto width = static_cast<std::size_t>(engine.model().config().width);
  const auto most = static_cast<std::size_t>(engine.options().max_rows);
  if (!engine.model().config().causal && ids.size() > most)
    return fail(
        ErrorCode::kExhausted,
        "the text has " + std::to_string(ids.size()) + " tokens, the model reads at most " + std::to_string(most),
        "Shorten the text, or give --truncate to leave its end away.");
  KINGLET_TRY(const auto sequence, engine.new_sequence());
  std::vector<float> hidden(ids.size() * width);
  std::vector<std::int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  for (std::size_t begin = 0; begin < ids.size(); begin += most) {
    const std::size_t count = std::min(most, ids.size() - begin);
    std::vector<Row> rows(count);
    for (std::size_t i = 0; i < count; ++i) rows[i] = {.sequence = sequence.get(), .position = positions[begin + i]};
    float* part = hidden.data() + begin * width;
    KINGLET_CHECK(engine.embed(ids.subspan(begin, count), std::span(positions).subspan(begin, count), part));
    KINGLET_CHECK(engine.forward({.rows = rows, .hidden = part}));
    engine.final_norm(part, static_cast<int>(count));
  }
  return hidden;
}

}  // namespace

Result<std::vector<float>> embed_tokens(Engine& engine, std::span<const TokenId> ids) {
  if (ids.empty())
    return fail(ErrorCode::kInvalidArgument, "the text has no tokens", "An empty text has no embedding here.");
  KINGLET_TRY(const std::vector<float> hidden, hidden_rows(engine, ids));
  const auto& config = engine.model().config();
  const auto width = static_cast<std::size_t>(config.width);
  const std::string pooling = !config.pooling.empty() ? config.pooling : config.causal ? "last" : "mean";
  const std::size_t first = pooling == "last" ? ids.size() - 1 : 0;
  const std::size_t count = pooling == "mean" ? ids.size() : 1;
  std::vector<float> out(width);
  double squares = 0;
  for (std::size_t j = 0; j < width; ++j) {
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(hidden[(first + i) * width + j]);
    out[j] = static_cast<float>(sum / static_cast<double>(count));
    squares += static_cast<double>(out[j]) * static_cast<double>(out[j]);
  }
  const double length = std::sqrt(squares);
  if (!(length > 0) || !std::isfinite(length))
    return fail(ErrorCode::kCorrupt, "the model gives no finite embedding for this text");
  for (float& value : out) value = static_cast<float>(static_cast<double>(value) / length);
  return out;
}

}  // namespace kinglet
