#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <string>

#include "base/interrupt.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "decode/softmax.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

constexpr std::size_t kLogitBytes = std::size_t{64} << 20;

struct Score {
  double nll = 0, reference_nll = 0, kl = 0;
  TokenId best = 0, reference_best = 0;
};

/// D(reference || model) of one row each.
double divergence_of(std::span<const float> model, std::span<const float> reference, double model_total,
                     double reference_total) {
  // sum p (log p - log q) = sum p (x_p - x_q) - total_p + total_q, with p = exp(x_p - total_p).
  constexpr std::size_t kLanes = 8;
  const float max = maximum(reference);
  double weighted[kLanes] = {}, weights[kLanes] = {};
  for (std::size_t i = 0; i < model.size(); ++i) {
    const float weight = exp_nonpositive(reference[i] - max);
    if (weight == 0) continue;
    weighted[i % kLanes] += static_cast<double>(weight) * (static_cast<double>(reference[i]) - model[i]);
    weights[i % kLanes] += weight;
  }
  double top = 0, bottom = 0;
  for (std::size_t j = 0; j < kLanes; ++j) top += weighted[j], bottom += weights[j];
  // Rounding may give a tiny negative number for equal rows.
  return std::max(0.0, top / bottom - reference_total + model_total);
}

Score score_row(std::span<const float> model, std::span<const float> reference, TokenId target) {
  Score score;
  const double total = log_sum_exp(model);
  score.nll = total - model[static_cast<std::size_t>(target)];
  if (reference.empty()) return score;
  const double reference_total = log_sum_exp(reference);
  score.reference_nll = reference_total - reference[static_cast<std::size_t>(target)];
  score.best = static_cast<TokenId>(argmax(model));
  score.reference_best = static_cast<TokenId>(argmax(reference));
  score.kl = divergence_of(model, reference, total, reference_total);
  return score;
}

struct Place {
  std::size_t window, index;  ///< the predicted token: windows[window].ids[index]
};

class Evaluator {
 public:
  Evaluator(Engine& model, Engine* reference, std::span<const TextWindow> windows, const EvaluateOptions& options)
      : model_(model),
        reference_(reference),
        windows_(windows),
        options_(options),
        vocabulary_(static_cast<std::size_t>(model.model().config().vocabulary)) {}

  Result<Evaluation> run();

 private:
  /// A window on its way through the models. The last token predicts nothing that is scored and is not fed.
  struct Reader {
    std::size_t window = 0, at = 0, last = 0;
    std::unique_ptr<Sequence> sequence, other;
  };
  Result<Reader> open(std::size_t number);
  Result<void> read();
  Result<void> pass(std::span<Reader> readers, std::size_t step);
  Result<void> feed(Engine& engine, std::span<const Reader> readers, std::size_t step, bool reference,
                    std::vector<float>& logits);
  void score(std::size_t first);
  Divergence divergence() const;
  std::vector<WindowScore> by_window() const;
  double error_between_windows(double mean) const;
  Disagreement describe(std::size_t at) const;

  Engine& model_;
  Engine* reference_;
  std::span<const TextWindow> windows_;
  const EvaluateOptions& options_;
  std::size_t vocabulary_;
  std::vector<float> logits_, reference_logits_;
  std::vector<std::int32_t> wanted_;
  std::vector<Row> rows_;
  std::vector<TokenId> ids_;
  std::vector<Score> scores_;
  std::vector<Place> places_;
  std::uint64_t done_ = 0, total_ = 0;
};

/// Tokens of one pass: bounded by the workspace and by the memory of the logits.
std::size_t piece_size(const Engine& engine, int chunk) {
  const auto row_bytes = static_cast<std::size_t>(engine.model().config().vocabulary) * sizeof(float);
  std::size_t rows = static_cast<std::size_t>(engine.options().max_rows);
  if (chunk > 0) rows = std::min(rows, static_cast<std::size_t>(chunk));
  return std::max<std::size_t>(1, std::min(rows, kLogitBytes / std::max<std::size_t>(row_bytes, 1)));
}

/// The next `step` tokens of each reader.
Result<void> Evaluator::feed(Engine& engine, std::span<const Reader> readers, std::size_t step, bool reference,
                             std::vector<float>& logits) {
  rows_.clear();
  ids_.clear();
  wanted_.clear();
  for (const Reader& reader : readers) {
    const TextWindow& window = windows_[reader.window];
    for (std::size_t i = reader.at; i < std::min(reader.at + step, reader.last); ++i) {
      if (i + 1 >= window.score_from) wanted_.push_back(static_cast<std::int32_t>(rows_.size()));
      rows_.push_back({(reference ? reader.other : reader.sequence).get(), static_cast<std::int32_t>(i), -1});
      ids_.push_back(window.ids[i]);
    }
  }
  if (logits.size() < wanted_.size() * vocabulary_) logits.resize(wanted_.size() * vocabulary_);
  return engine.step(rows_, ids_, wanted_, logits.data());
}

Result<void> Evaluator::pass(std::span<Reader> readers, std::size_t step) {
  if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted after " + std::to_string(done_) + " tokens");
  KINGLET_CHECK(feed(model_, readers, step, false, logits_));
  if (reference_) KINGLET_CHECK(feed(*reference_, readers, step, true, reference_logits_));
  const std::size_t first = places_.size();
  for (Reader& reader : readers) {
    const std::size_t end = std::min(reader.at + step, reader.last);
    done_ += end - reader.at;
    for (; reader.at < end; ++reader.at)
      if (reader.at + 1 >= windows_[reader.window].score_from) places_.push_back({reader.window, reader.at + 1});
  }
  for (std::size_t i = 0; options_.reshape && first + i < places_.size(); ++i) {
    const auto& [number, index] = places_[first + i];
    KINGLET_CHECK(options_.reshape(number, index, {logits_.data() + i * vocabulary_, vocabulary_}));
    if (reference_)
      KINGLET_CHECK(options_.reshape(number, index, {reference_logits_.data() + i * vocabulary_, vocabulary_}));
  }
  score(first);
  if (options_.progress) options_.progress(done_, total_);
  return {};
}

/// The places from `first` on, whose logits have just been made.
void Evaluator::score(std::size_t first) {
  const std::size_t count = places_.size() - first;
  scores_.resize(places_.size());
  for (std::size_t i = 0; options_.combine && reference_ && i < count; ++i)
    options_.combine({logits_.data() + i * vocabulary_, vocabulary_},
                     {reference_logits_.data() + i * vocabulary_, vocabulary_});
  ThreadPool& pool = model_.model().pool();
  const auto size = static_cast<std::size_t>(pool.size());
  pool.run([&](int thread) {
    for (std::size_t i = static_cast<std::size_t>(thread); i < count; i += size) {
      const std::span<const float> row(logits_.data() + i * vocabulary_, vocabulary_);
      std::span<const float> other_row;
      if (reference_) other_row = {reference_logits_.data() + i * vocabulary_, vocabulary_};
      const auto& [number, index] = places_[first + i];
      scores_[first + i] = score_row(row, other_row, windows_[number].ids[index]);
    }
  });
}

Result<Evaluator::Reader> Evaluator::open(std::size_t number) {
  Reader reader{.window = number, .last = windows_[number].ids.size() - 1, .sequence = nullptr, .other = nullptr};
  KINGLET_TRY(reader.sequence, model_.new_sequence());
  if (reference_) {
    KINGLET_TRY(reader.other, reference_->new_sequence());
  }
  return reader;
}

/// One window after the other in large pieces; or several side by side, one token of each in a pass.
Result<void> Evaluator::read() {
  const bool decodes = options_.batch > 0;
  std::size_t step = decodes ? 1 : piece_size(model_, options_.chunk);
  if (reference_ && !decodes) step = std::min(step, piece_size(*reference_, options_.chunk));
  const std::size_t most = decodes ? static_cast<std::size_t>(options_.batch) : 1;
  std::vector<Reader> readers;
  for (std::size_t next = 0; next < windows_.size() || !readers.empty();) {
    for (; readers.size() < most && next < windows_.size(); ++next) {
      KINGLET_TRY(Reader reader, open(next));
      if (reader.last > 0) readers.push_back(std::move(reader));
    }
    if (readers.empty()) break;
    KINGLET_CHECK(pass(readers, step));
    std::erase_if(readers, [](const Reader& reader) { return reader.at >= reader.last; });
  }
  return {};
}

Result<Evaluation> Evaluator::run() {
  const auto started = std::chrono::steady_clock::now();
  if (reference_ && reference_->model().config().vocabulary != model_.model().config().vocabulary)
    return fail(ErrorCode::kInvalidArgument,
                "the models have vocabularies of " + std::to_string(vocabulary_) + " and " +
                    std::to_string(reference_->model().config().vocabulary) + " tokens",
                "Compare models that share a tokenizer.");
  for (const TextWindow& window : windows_) {
    total_ += window.ids.size() - 1;
    for (TokenId id : window.ids)
      if (id < 0 || static_cast<std::size_t>(id) >= vocabulary_)
        return fail(ErrorCode::kInvalidArgument, "the text has the token id " + std::to_string(id) +
                                                     ", expected 0 to " + std::to_string(vocabulary_ - 1));
  }
  KINGLET_CHECK(read());
  Evaluation result;
  result.tokens = static_cast<std::int64_t>(scores_.size());
  result.fed = static_cast<std::int64_t>(done_);
  if (scores_.empty()) return fail(ErrorCode::kInvalidArgument, "the text is too short to score a token of it");
  double sum = 0, squares = 0;
  for (const Score& score : scores_) sum += score.nll, squares += score.nll * score.nll;
  const auto count = static_cast<double>(scores_.size());
  result.nll = sum / count;
  result.standard_error =
      count > 1 ? std::sqrt(std::max(0.0, squares / count - result.nll * result.nll) / (count - 1)) : 0;
  result.perplexity = std::exp(result.nll);
  result.windows = by_window();
  if (reference_) result.divergence = divergence();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result;
}

std::vector<WindowScore> Evaluator::by_window() const {
  std::vector<WindowScore> result(windows_.size());
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    WindowScore& window = result[places_[i].window];
    window.nll += scores_[i].nll;
    window.reference_nll += scores_[i].reference_nll;
    window.kl += scores_[i].kl;
    window.top1_agreement += reference_ && scores_[i].best == scores_[i].reference_best;
    ++window.tokens;
  }
  for (WindowScore& window : result)
    for (double* sum : {&window.nll, &window.reference_nll, &window.kl, &window.top1_agreement})
      *sum /= static_cast<double>(std::max<std::int64_t>(window.tokens, 1));
  return result;
}

Divergence Evaluator::divergence() const {
  Divergence result;
  std::vector<double> values;
  double squares = 0;
  for (const Score& score : scores_) {
    values.push_back(score.kl);
    result.mean += score.kl;
    squares += score.kl * score.kl;
    result.reference_nll += score.reference_nll;
    result.top1_agreement += score.best == score.reference_best;
  }
  const auto count = static_cast<double>(scores_.size());
  result.mean /= count;
  result.reference_nll /= count;
  result.top1_agreement /= count;
  result.standard_error =
      count > 1 ? std::sqrt(std::max(0.0, squares / count - result.mean * result.mean) / (count - 1)) : 0;
  result.standard_error = std::max(result.standard_error, error_between_windows(result.mean));
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::size_t shown = std::min(options_.worst, order.size());
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
      [&](std::size_t a, std::size_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  for (std::size_t i = 0; i < shown; ++i) result.worst.push_back(describe(order[i]));
  result.median = percentile(values, 0.5);
  result.p99 = percentile(values, 0.99);
  result.max = values.back();
  return result;
}

/// The standard error where windows, not tokens, are independent draws: neighbours are alike. 0 for a few windows,
/// which would tell little about it.
double Evaluator::error_between_windows(double mean) const {
  constexpr std::size_t kLeastWindows = 8;
  std::map<std::size_t, double> sums;
  for (std::size_t i = 0; i < scores_.size(); ++i) sums[places_[i].window] += scores_[i].kl - mean;
  if (sums.size() < kLeastWindows) return 0;
  double squares = 0;
  for (const auto& [window, sum] : sums) squares += sum * sum;
  const auto windows = static_cast<double>(sums.size());
  return std::sqrt(squares * windows / (windows - 1)) / static_cast<double>(scores_.size());
}

Disagreement Evaluator::describe(std::size_t at) const {
  constexpr std::size_t kContext = 24;
  const Tokenizer& tokenizer = model_.model().tokenizer();
  const TextWindow& window = windows_[places_[at].window];
  const std::size_t index = places_[at].index;
  Disagreement place;
  place.position = window.text_offset + index;
  place.kl = scores_[at].kl;
  for (std::size_t i = index > kContext ? index - kContext : 0; i < index; ++i)
    place.before += tokenizer.piece(window.ids[i]);
  place.token = tokenizer.piece(window.ids[index]);
  place.model_best = tokenizer.piece(scores_[at].best);
  place.reference_best = tokenizer.piece(scores_[at].reference_best);
  place.model_probability = std::exp(-scores_[at].nll);
  place.reference_probability = std::exp(-scores_[at].reference_nll);
  return place;
}

}  // namespace

Result<Evaluation> evaluate(Engine& model, Engine* reference, std::span<const TextWindow> windows,
                            const EvaluateOptions& options) {
  return Evaluator(model, reference, windows, options).run();
}

Result<void> stream_logits(Engine& engine, std::span<const TokenId> ids, std::size_t from, int chunk,
                           const std::function<Result<void>(std::size_t first, int rows, float* logits)>& sink) {
  const auto vocabulary = static_cast<std::size_t>(engine.model().config().vocabulary);
  const std::size_t step = piece_size(engine, chunk);
  KINGLET_TRY(auto sequence, engine.new_sequence());
  std::vector<Row> rows;
  std::vector<std::int32_t> wanted;
  std::vector<float> logits;
  for (std::size_t begin = 0; begin < ids.size(); begin += step) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted after " + std::to_string(begin) + " tokens");
    const std::size_t end = std::min(begin + step, ids.size());
    rows.clear();
    wanted.clear();
    for (std::size_t i = begin; i < end; ++i) {
      rows.push_back({sequence.get(), static_cast<std::int32_t>(i), -1});
      if (i >= from) wanted.push_back(static_cast<std::int32_t>(i - begin));
    }
    logits.resize(wanted.size() * vocabulary);
    KINGLET_CHECK(engine.step(rows, ids.subspan(begin, end - begin), wanted, logits.data()));
    if (!wanted.empty())
      KINGLET_CHECK(
          sink(begin + static_cast<std::size_t>(wanted.front()), static_cast<int>(wanted.size()), logits.data()));
  }
  return {};
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace kinglet
