#include "engine/early_exit.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "base/try.h"

namespace kinglet {
namespace {

/// Rows of a sequence that have run the layers below a stage and not yet those above.
struct Waiting {
  std::vector<std::int32_t> positions;
  std::vector<float> hidden;  ///< [positions, width]
};

class ExitEngine;

/// A sequence of the inner engine, and what waits for its upper layers. Whatever looks at the memory as a whole runs
/// them first.
class ExitSequence final : public Sequence {
 public:
  ExitSequence(ExitEngine& engine, std::unique_ptr<Sequence> inner, std::size_t stages)
      : engine_(engine), inner(std::move(inner)), waiting(stages) {}

  std::int64_t length() const override {
    std::int64_t length = inner->length();
    for (const Waiting& stage : waiting) length += std::ssize(stage.positions);
    return length;
  }
  Result<void> truncate(std::int64_t length) override;
  Result<std::unique_ptr<Sequence>> fork() const override;
  Result<void> keep_path(std::int64_t base, std::span<const std::int32_t> offsets) override {
    return inner->keep_path(base, offsets);  // after a tree nothing waits
  }
  Result<std::string> snapshot() const override;
  Result<void> restore(std::string_view bytes) override {
    for (Waiting& stage : waiting) stage = {};
    return inner->restore(bytes);
  }
  std::uint64_t bytes() const override {
    std::uint64_t bytes = inner->bytes();
    for (const Waiting& stage : waiting) bytes += stage.hidden.size() * sizeof(float);
    return bytes;
  }
  /// Runs what waits.
  Result<void> settle() const;

 private:
  ExitEngine& engine_;

 public:
  std::unique_ptr<Sequence> inner;
  std::vector<Waiting> waiting;  ///< one for each exit
};

class ExitEngine final : public Engine {
 public:
  ExitEngine(std::unique_ptr<Engine> inner, std::vector<ExitPoint> exits)
      : inner_(std::move(inner)), exits_(std::move(exits)) {
    counts_.exits = exits_;
    counts_.drawn.resize(exits_.size() + 1);
    counts_.layers = static_cast<int>(model().config().layers);
  }
  const ExitCounts& counts() const { return counts_; }

  const Model& model() const override { return inner_->model(); }
  const EngineOptions& options() const override { return inner_->options(); }
  Result<std::unique_ptr<Sequence>> new_sequence() override {
    KINGLET_TRY(auto sequence, inner_->new_sequence());
    return std::make_unique<ExitSequence>(*this, std::move(sequence), exits_.size());
  }
  Result<void> embed(std::span<const TokenId> ids, std::span<const std::int32_t> positions, float* hidden) override {
    return inner_->embed(ids, positions, hidden);
  }
  Result<void> forward(const ForwardCall& call) override;
  Result<void> head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) override {
    return inner_->head(hidden, rows, allowed, logits);
  }
  void final_norm(float* hidden, int rows) override { inner_->final_norm(hidden, rows); }
  Result<void> step(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                    float* logits) override;
  std::uint64_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  std::uint64_t cache_bytes() const override { return inner_->cache_bytes(); }
  std::uint64_t weights_read() const override { return inner_->weights_read(); }
  void count_weights(std::uint64_t bytes) override { inner_->count_weights(bytes); }

  /// Runs all that waits in `sequence` to the last layer.
  Result<void> settle(ExitSequence& sequence);
  Result<std::unique_ptr<Sequence>> wrap(std::unique_ptr<Sequence> inner) {
    return std::make_unique<ExitSequence>(*this, std::move(inner), exits_.size());
  }

 private:
  static constexpr std::size_t kMostWaiting =
      256;  ///< rows of a sequence at one exit: memory, and the longest catch-up
  std::size_t width() const { return static_cast<std::size_t>(model().config().width); }
  int begin_of(std::size_t stage) const { return exits_[stage].layers; }
  int end_of(std::size_t stage) const {
    return stage + 1 < exits_.size() ? exits_[stage + 1].layers : static_cast<int>(model().config().layers);
  }
  Result<void> step_chunk(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                          float* logits);
  Result<void> step_plainly(std::span<const Row> rows, std::span<const TokenId> ids,
                            std::span<const std::int32_t> wanted, float* logits);
  Result<void> run_stage(std::span<ExitSequence* const> sequences, std::size_t stage);
  std::span<const float> hidden_of(const ExitSequence& sequence, std::size_t stage, std::int32_t position) const;
  Result<bool> draw(std::span<const Row> rows, std::span<const std::int32_t> wanted, std::size_t stage,
                    std::vector<std::uint8_t>& drawn, float* logits);

  std::unique_ptr<Engine> inner_;
  std::vector<ExitPoint> exits_;
  ExitCounts counts_;
  std::vector<Row> rows_;
  std::vector<float> hidden_, last_, logits_;
  std::vector<std::pair<ExitSequence*, std::int32_t>> ran_;  ///< rows of the last stage that ran to the end
};

Result<void> ExitSequence::settle() const { return engine_.settle(const_cast<ExitSequence&>(*this)); }

Result<void> ExitSequence::truncate(std::int64_t length) {
  KINGLET_CHECK(settle());
  return inner->truncate(length);
}

Result<std::unique_ptr<Sequence>> ExitSequence::fork() const {
  KINGLET_CHECK(settle());
  KINGLET_TRY(auto copy, inner->fork());
  return engine_.wrap(std::move(copy));
}

Result<std::string> ExitSequence::snapshot() const {
  KINGLET_CHECK(settle());
  return inner->snapshot();
}

/// Runs the layers from exit `stage` to the next one (or the end) on all that waits there, and lets it wait above. What
/// has run to the end is in last_, its rows in ran_.
Result<void> ExitEngine::run_stage(std::span<ExitSequence* const> sequences, std::size_t stage) {
  rows_.clear();
  hidden_.clear();
  ran_.clear();
  for (ExitSequence* sequence : sequences) {
    Waiting& own = sequence->waiting[stage];
    for (const std::int32_t position : own.positions) {
      rows_.push_back({.sequence = sequence->inner.get(), .position = position});
      ran_.emplace_back(sequence, position);
    }
    hidden_.insert(hidden_.end(), own.hidden.begin(), own.hidden.end());
  }
  const auto most = static_cast<std::size_t>(options().max_rows);
  for (std::size_t begin = 0; begin < rows_.size(); begin += most) {
    const std::size_t count = std::min(most, rows_.size() - begin);
    KINGLET_CHECK(inner_->forward({.rows = std::span<const Row>(rows_).subspan(begin, count),
                                   .hidden = hidden_.data() + begin * width(),
                                   .layer_begin = begin_of(stage),
                                   .layer_end = end_of(stage)}));
  }
  std::size_t at = 0;
  for (ExitSequence* sequence : sequences) {
    Waiting own = std::exchange(sequence->waiting[stage], {});
    const std::size_t count = own.positions.size();
    if (stage + 1 < exits_.size()) {
      Waiting& next = sequence->waiting[stage + 1];
      next.positions.insert(next.positions.end(), own.positions.begin(), own.positions.end());
      next.hidden.insert(next.hidden.end(), hidden_.begin() + static_cast<std::ptrdiff_t>(at * width()),
                         hidden_.begin() + static_cast<std::ptrdiff_t>((at + count) * width()));
    }
    at += count;
  }
  last_.swap(hidden_);
  return {};
}

Result<void> ExitEngine::settle(ExitSequence& sequence) {
  ExitSequence* one = &sequence;
  for (std::size_t stage = 0; stage < exits_.size(); ++stage) {
    if (sequence.waiting[stage].positions.empty()) continue;
    KINGLET_CHECK(run_stage({&one, 1}, stage));
  }
  return {};
}

Result<void> ExitEngine::forward(const ForwardCall& call) {
  std::vector<Row> rows(call.rows.begin(), call.rows.end());
  for (Row& row : rows) {
    auto* sequence = dynamic_cast<ExitSequence*>(row.sequence);
    if (sequence == nullptr) return fail(ErrorCode::kInternal, "forward: a sequence of another engine");
    KINGLET_CHECK(sequence->settle());
    row.sequence = sequence->inner.get();
  }
  ForwardCall own = call;
  own.rows = rows;
  return inner_->forward(own);
}

/// The hidden row of a position: among those that wait at exit `stage`, or (stage == exits) those that ran to the end.
std::span<const float> ExitEngine::hidden_of(const ExitSequence& sequence, std::size_t stage,
                                             std::int32_t position) const {
  if (stage == exits_.size()) {
    for (std::size_t i = 0; i < ran_.size(); ++i)
      if (ran_[i] == std::pair(const_cast<ExitSequence*>(&sequence), position))
        return std::span<const float>(last_).subspan(i * width(), width());
    return {};
  }
  const Waiting& own = sequence.waiting[stage];
  const auto found = std::ranges::find(own.positions, position);
  if (found == own.positions.end()) return {};
  return std::span<const float>(own.hidden)
      .subspan(static_cast<std::size_t>(found - own.positions.begin()) * width(), width());
}

/// Logits of the wanted rows at exit `stage`; those that are sure enough are drawn. Whether all are.
Result<bool> ExitEngine::draw(std::span<const Row> rows, std::span<const std::int32_t> wanted, std::size_t stage,
                              std::vector<std::uint8_t>& drawn, float* logits) {
  const auto vocabulary = static_cast<std::size_t>(model().config().vocabulary);
  const double enough = stage < exits_.size() ? exits_[stage].enough : 0;
  std::vector<float> hidden;
  std::vector<std::size_t> which;
  for (std::size_t w = 0; w < wanted.size(); ++w) {
    if (drawn[w]) continue;
    const Row& row = rows[static_cast<std::size_t>(wanted[w])];
    const auto own = hidden_of(static_cast<const ExitSequence&>(*row.sequence), stage, row.position);
    if (own.empty()) return fail(ErrorCode::kInternal, "early exit: a row is nowhere");
    hidden.insert(hidden.end(), own.begin(), own.end());
    which.push_back(w);
  }
  if (enough > 1 || which.empty()) return which.empty();
  logits_.resize(which.size() * vocabulary);
  KINGLET_CHECK(inner_->head(hidden.data(), static_cast<int>(which.size()), {}, logits_.data()));
  bool all = true;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const std::span<const float> own(logits_.data() + i * vocabulary, vocabulary);
    const float max = *std::ranges::max_element(own);
    double sum = 0;
    for (std::size_t id = 0; enough > 0 && id < vocabulary; ++id) sum += std::exp(own[id] - max);
    if (enough > 0 && !(1 / sum >= enough)) {
      all = false;
      continue;
    }
    std::memcpy(logits + which[i] * vocabulary, own.data(), vocabulary * sizeof(float));
    drawn[which[i]] = 1;
    ++counts_.drawn[stage];
  }
  return all;
}

Result<void> ExitEngine::step(std::span<const Row> rows, std::span<const TokenId> ids,
                              std::span<const std::int32_t> wanted, float* logits) {
  if (rows.size() != ids.size()) return fail(ErrorCode::kInternal, "step: rows and ids differ in number");
  const auto most = static_cast<std::size_t>(options().max_rows);
  std::vector<std::int32_t> own;
  for (std::size_t begin = 0, done = 0; begin < rows.size(); begin += most) {
    const std::size_t count = std::min(most, rows.size() - begin);
    own.clear();
    while (done + own.size() < wanted.size() && static_cast<std::size_t>(wanted[done + own.size()]) < begin + count)
      own.push_back(wanted[done + own.size()] - static_cast<std::int32_t>(begin));
    KINGLET_CHECK(step_chunk(rows.subspan(begin, count), ids.subspan(begin, count), own,
                             logits + done * static_cast<std::size_t>(model().config().vocabulary)));
    done += own.size();
  }
  return {};
}

/// A tree: its rows stand at positions more than once, so none of them waits.
Result<void> ExitEngine::step_plainly(std::span<const Row> rows, std::span<const TokenId> ids,
                                      std::span<const std::int32_t> wanted, float* logits) {
  std::vector<std::int32_t> positions;
  for (const Row& row : rows) positions.push_back(row.position);
  std::vector<float> hidden(rows.size() * width());
  KINGLET_CHECK(embed(ids, positions, hidden.data()));
  std::vector<std::uint8_t> drawn(wanted.size(), 0);
  std::vector<float> of_wanted(wanted.size() * width());
  const auto vocabulary = static_cast<std::size_t>(model().config().vocabulary);
  for (std::size_t stage = 0, begin = 0; stage <= exits_.size(); ++stage) {
    const int end = stage < exits_.size() ? exits_[stage].layers : static_cast<int>(model().config().layers);
    KINGLET_CHECK(forward({.rows = rows,
                           .hidden = hidden.data(),
                           .layer_begin = static_cast<int>(begin),
                           .layer_end = end,
                           .tree = true}));
    begin = static_cast<std::size_t>(end);
    const double enough = stage < exits_.size() ? exits_[stage].enough : 0;
    if (enough > 1) continue;
    for (std::size_t w = 0; w < wanted.size(); ++w) {
      if (drawn[w]) continue;
      std::vector<float> row(vocabulary);
      KINGLET_CHECK(inner_->head(hidden.data() + static_cast<std::size_t>(wanted[w]) * width(), 1, {}, row.data()));
      const float max = *std::ranges::max_element(row);
      double sum = 0;
      for (std::size_t id = 0; enough > 0 && id < vocabulary; ++id) sum += std::exp(row[id] - max);
      if (enough > 0 && !(1 / sum >= enough)) continue;
      std::memcpy(logits + w * vocabulary, row.data(), vocabulary * sizeof(float));
      drawn[w] = 1;
      ++counts_.drawn[stage];
    }
  }
  return {};
}

Result<void> ExitEngine::step_chunk(std::span<const Row> rows, std::span<const TokenId> ids,
                                    std::span<const std::int32_t> wanted, float* logits) {
  std::vector<ExitSequence*> sequences;
  std::vector<std::int32_t> positions;
  std::vector<Row> inner(rows.begin(), rows.end());
  bool tree = false;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto* sequence = dynamic_cast<ExitSequence*>(rows[i].sequence);
    if (sequence == nullptr) return fail(ErrorCode::kInternal, "step: a sequence of another engine");
    if (std::ranges::find(sequences, sequence) == sequences.end()) sequences.push_back(sequence);
    inner[i].sequence = sequence->inner.get();
    positions.push_back(rows[i].position);
    tree = tree || rows[i].parent >= 0;
  }
  if (tree) return step_plainly(rows, ids, wanted, logits);
  std::vector<float> hidden(rows.size() * width());
  KINGLET_CHECK(embed(ids, positions, hidden.data()));
  KINGLET_CHECK(inner_->forward({.rows = inner, .hidden = hidden.data(), .layer_end = exits_[0].layers}));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Waiting& own = static_cast<ExitSequence&>(*rows[i].sequence).waiting[0];
    own.positions.push_back(rows[i].position);
    own.hidden.insert(own.hidden.end(), hidden.begin() + static_cast<std::ptrdiff_t>(i * width()),
                      hidden.begin() + static_cast<std::ptrdiff_t>((i + 1) * width()));
  }
  std::vector<std::uint8_t> drawn(wanted.size(), 0);
  for (std::size_t stage = 0; stage <= exits_.size(); ++stage) {
    KINGLET_TRY(const bool all, draw(rows, wanted, stage, drawn, logits));
    if (stage == exits_.size()) break;
    const bool full = std::ranges::any_of(
        sequences, [&](const ExitSequence* one) { return one->waiting[stage].positions.size() > kMostWaiting; });
    if (all && !full) break;
    KINGLET_CHECK(run_stage(sequences, stage));
    if (all && stage + 1 == exits_.size()) break;
  }
  return {};
}

}  // namespace

double ExitCounts::mean_layers() const {
  double sum = 0, tokens = 0;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    sum += static_cast<double>(drawn[i]) * (i < exits.size() ? exits[i].layers : layers);
    tokens += static_cast<double>(drawn[i]);
  }
  return tokens > 0 ? sum / tokens : 0;
}

const ExitCounts* exit_counts(const Engine& engine) {
  const auto* own = dynamic_cast<const ExitEngine*>(&engine);
  return own != nullptr ? &own->counts() : nullptr;
}

Result<std::vector<ExitPoint>> parse_exits(std::string_view text, int layers) {
  std::vector<ExitPoint> exits;
  const auto wrong = [&] {
    return fail(ErrorCode::kInvalidArgument, "early exits are LAYER:P,… with ascending layers of 1 to " +
                                                 std::to_string(layers - 1) + " and probabilities, found '" +
                                                 std::string(text) + "'");
  };
  for (const char *at = text.data(), *end = text.data() + text.size(); at < end;) {
    ExitPoint point;
    const auto layer = std::from_chars(at, end, point.layers);
    if (layer.ec != std::errc() || layer.ptr == end || *layer.ptr != ':') return wrong();
    const auto enough = std::from_chars(layer.ptr + 1, end, point.enough);
    if (enough.ec != std::errc() || !(point.enough >= 0 && point.enough <= 2)) return wrong();
    if (point.layers < 1 || point.layers >= layers || (!exits.empty() && point.layers <= exits.back().layers))
      return wrong();
    exits.push_back(point);
    if (enough.ptr == end) return exits;
    if (*enough.ptr != ',') return wrong();
    at = enough.ptr + 1;
  }
  return wrong();
}

Result<std::unique_ptr<Engine>> exit_early(std::unique_ptr<Engine> engine) {
  const ModelConfig& config = engine->model().config();
  KINGLET_TRY(auto exits, parse_exits(engine->options().early_exit, static_cast<int>(config.layers)));
  const EngineOptions& options = engine->options();
  if (!config.causal || options.cache_policy != "full" || !options.lazy_prefill.empty() || options.ffn_skip)
    return fail(ErrorCode::kUnsupported, "early exits need a model that generates, and the plain cache",
                "Leave --cache-policy, --lazy-prefill and --ffn-skip away.");
  return std::make_unique<ExitEngine>(std::move(engine), std::move(exits));
}

}  // namespace kinglet
