#include "decode/trim_curve.h"

#include <algorithm>

#include "base/try.h"

namespace kinglet {
namespace {

constexpr int kMostTokens = 8;
constexpr std::size_t kRowsAtOnce = 16;  // of the head: a row of logits is large

/// The sizes for which the drafter's best token is the target's: above `from`, up to `to`.
struct Right {
  std::size_t from = 0, to = 0;
  bool with(std::size_t size) const { return from < size && size <= to; }
};

class Reader {
 public:
  explicit Reader(const TrimQuestion& question)
      : question_(question),
        engine_(question.second != nullptr ? *question.second : *question.target),
        vocabulary_(question.order.size()),
        ranks_(vocabulary_),
        logits_(kRowsAtOnce * vocabulary_) {
    for (std::size_t rank = 0; rank < vocabulary_; ++rank)
      ranks_[static_cast<std::size_t>(question.order[rank])] = static_cast<std::uint32_t>(rank);
  }

  /// Judges each token of the text after its prompt.
  Result<std::vector<Right>> read(std::span<const TokenId> text) {
    const std::size_t rows = text.size() - 1, first = question_.given - 1;
    const auto width = static_cast<std::size_t>(engine_.model().config().width);
    KINGLET_TRY(const auto sequence, engine_.new_sequence());
    std::vector<Row> places;
    std::vector<std::int32_t> positions;
    for (std::size_t i = 0; i < rows; ++i) {
      positions.push_back(static_cast<std::int32_t>(i));
      places.push_back({.sequence = sequence.get(), .position = positions.back()});
    }
    std::vector<float> hidden(rows * width);
    KINGLET_CHECK(engine_.embed(text.first(rows), positions, hidden.data()));
    KINGLET_CHECK(engine_.forward({.rows = places,
                                   .hidden = hidden.data(),
                                   .layer_end = question_.second != nullptr ? -1 : question_.exit_layer}));
    std::vector<Right> judged;
    for (std::size_t row = first; row < rows; row += kRowsAtOnce) {
      const std::size_t count = std::min(kRowsAtOnce, rows - row);
      KINGLET_CHECK(engine_.head(hidden.data() + row * width, static_cast<int>(count), {}, logits_.data()));
      for (std::size_t i = 0; i < count; ++i)
        judged.push_back(judge({logits_.data() + i * vocabulary_, vocabulary_}, text[row + i + 1]));
    }
    return judged;
  }

 private:
  Right judge(std::span<const float> logits, TokenId token) const {
    const auto right = static_cast<std::size_t>(token);
    std::uint32_t better = static_cast<std::uint32_t>(vocabulary_);
    for (std::size_t id = 0; id < vocabulary_; ++id)
      if (logits[id] > logits[right] || (logits[id] == logits[right] && id < right))
        better = std::min(better, ranks_[id]);
    return {.from = ranks_[right], .to = better};
  }

  const TrimQuestion& question_;
  Engine& engine_;
  std::size_t vocabulary_;
  std::vector<std::uint32_t> ranks_;
  std::vector<float> logits_;
};

/// A proposal may begin at each place; its tokens stand up to the first that is not right.
TrimPoint judge_size(std::size_t size, std::span<const std::vector<Right>> texts, double body, double head) {
  TrimPoint point{.keep = size};
  double places = 0, right = 0;
  std::vector<double> stood(kMostTokens + 1, 0);  // [length]: tokens of all proposals of this length
  for (const auto& text : texts) {
    int run = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
      run = text[i].with(size) ? std::min(run + 1, kMostTokens) : 0;
      places += 1;
      right += run > 0;
      for (int length = 1; length <= kMostTokens; ++length) stood[std::size_t(length)] += std::min(run, length);
    }
  }
  if (places == 0) return point;
  point.accepted = right / places;
  for (int length = 1; length <= kMostTokens; ++length) {
    const double tokens = 1 + stood[std::size_t(length)] / places;
    const double speed_up = tokens / (length * (body + head) + 1);
    if (point.length > 0 && speed_up <= point.speed_up) continue;
    point.length = length;
    point.block_efficiency = tokens;
    point.speed_up = speed_up;
  }
  return point;
}

double layer_bytes(const LayerWeights& layer) {
  double bytes = 0;
  for (const auto* matrix :
       {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down})
    if (*matrix) bytes += static_cast<double>((*matrix)->bytes());
  return bytes;
}

}  // namespace

Result<std::vector<TrimPoint>> trim_curve(const TrimQuestion& question) {
  Reader reader(question);
  std::vector<std::vector<Right>> judged;
  for (const auto& text : question.texts) {
    if (text.size() <= question.given) continue;
    KINGLET_TRY(auto one, reader.read(text));
    judged.push_back(std::move(one));
  }
  const Model& model = (question.second != nullptr ? question.second : question.target)->model();
  const std::size_t layers =
      question.second != nullptr ? model.layers.size() : static_cast<std::size_t>(question.exit_layer);
  double body = 0;
  for (std::size_t i = 0; i < layers; ++i) body += layer_bytes(model.layers[i]);
  double whole = static_cast<double>(question.target->model().output_head().bytes());
  for (const LayerWeights& layer : question.target->model().layers) whole += layer_bytes(layer);
  const double row = static_cast<double>(model.output_head().bytes()) / static_cast<double>(question.order.size());
  std::vector<TrimPoint> curve;
  for (const std::size_t size : question.sizes)
    curve.push_back(judge_size(size, judged, body / whole, row * static_cast<double>(size) / whole));
  return curve;
}

}  // namespace kinglet
