#include "engine/token_pruner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "base/try.h"

namespace kinglet {
namespace {

template <typename T>
Result<std::vector<T>> read_list(std::string_view text, std::string_view what) {
  std::vector<T> values;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    T value{};
    const auto [last, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || last != text.data() + end)
      return fail(ErrorCode::kInvalidArgument, "'" + std::string(text) + "' is no list of " + std::string(what),
                  "Write RATE,RATE,… or RATE,RATE,…@LAYER,LAYER,…, as in 0.3,0.3,0.3@15,21,27.");
    values.push_back(value);
    begin = end + 1;
  }
  return values;
}

/// Share of the layers before stage i of `count`. Lower down the last token does not yet look at what it will need.
double default_place(std::size_t i, std::size_t count) {
  constexpr double kFirst = 0.5, kLast = 0.9;
  if (count == 1) return (kFirst + kLast) / 2;
  return kFirst + (kLast - kFirst) * static_cast<double>(i) / static_cast<double>(count - 1);
}

/// Uniform in [0, 1) from the position: the same in every run. The first token, which draws attention whatever it
/// holds, is never the one that goes: without it everything falls apart, and the comparison would say nothing.
float random_score(std::int64_t position) {
  if (position == 0) return 1;
  std::uint64_t z = static_cast<std::uint64_t>(position) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-24f;
}

}  // namespace

Result<TokenPruning> parse_token_pruning(std::string_view text, int layers) {
  TokenPruning pruning;
  constexpr std::string_view kRandom = ":random";
  if (text.ends_with(kRandom)) pruning.random = true, text.remove_suffix(kRandom.size());
  const std::size_t at = text.find('@');
  KINGLET_TRY(const std::vector<double> rates, read_list<double>(text.substr(0, at), "rates"));
  std::vector<int> places;
  if (at != std::string_view::npos) {
    KINGLET_TRY(places, read_list<int>(text.substr(at + 1), "layers"));
  }
  for (std::size_t i = 0; at == std::string_view::npos && i < rates.size(); ++i)
    places.push_back(static_cast<int>(std::lround(layers * default_place(i, rates.size()))));
  if (places.size() != rates.size())
    return fail(ErrorCode::kInvalidArgument, std::to_string(rates.size()) + " rates and " +
                                                 std::to_string(places.size()) + " layers to prune after");
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if (!(rates[i] >= 0 && rates[i] < 1))
      return fail(ErrorCode::kInvalidArgument, "a rate is " + std::to_string(rates[i]) + ", expected 0 to below 1");
    if (places[i] <= (i == 0 ? 0 : places[i - 1]) || places[i] >= layers)
      return fail(ErrorCode::kInvalidArgument, "the layers to prune after must ascend from 1 to " +
                                                   std::to_string(layers - 1) + ", found " + std::to_string(places[i]));
    pruning.stages.push_back({.layer = places[i], .rate = rates[i]});
  }
  return pruning;
}

Result<void> TokenPruner::forward(Engine& engine, const ForwardCall& call) {
  std::vector<SequenceCache*> sequences;
  for (const Row& row : call.rows) {
    auto* sequence = dynamic_cast<SequenceCache*>(row.sequence);
    if (sequence == nullptr) return fail(ErrorCode::kInvalidArgument, "a row has no sequence of this engine");
    if (std::ranges::find(sequences, sequence) == sequences.end()) sequences.push_back(sequence);
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    Batch batch;
    std::vector<std::size_t> places;
    for (std::size_t row = 0; row < call.rows.size(); ++row) {
      if (call.rows[row].sequence != sequences[i]) continue;
      places.push_back(row);
      batch.rows.push_back(call.rows[row]);
      batch.hidden.insert(batch.hidden.end(), call.hidden + row * width_, call.hidden + (row + 1) * width_);
    }
    std::vector<std::int32_t> positions;
    for (const Row& row : batch.rows) positions.push_back(row.position);
    const std::int64_t before = sequences[i]->length();
    if (auto done = run(engine, *sequences[i], batch); !done) {
      // Where a layer fails the ones below have the rows already.
      for (std::size_t other = 0; other <= i; ++other)
        (void)sequences[other]->truncate(std::min(before, sequences[other]->length()));
      return done;
    }
    // Those that stopped are no longer in the batch; the newest is the last.
    for (std::size_t at = 0, row = 0; row < places.size(); ++row) {
      while (at < batch.rows.size() && batch.rows[at].position != positions[row]) ++at;
      if (at == batch.rows.size()) {
        at = 0;
        continue;
      }
      std::copy_n(batch.hidden.data() + at * width_, width_, call.hidden + places[row] * width_);
    }
  }
  return {};
}

Result<void> TokenPruner::run_layers(Engine& engine, Batch& batch, int begin, int end, bool watched) {
  ForwardHooks hooks;
  hooks.attention = [this](int, int, std::span<const float> weights) {
    scores_.resize(std::max(scores_.size(), weights.size()));
    for (std::size_t i = 0; i < weights.size(); ++i) scores_[i] += weights[i];
  };
  scores_.clear();
  const int last = watched ? end - 1 : end;
  if (begin < last)
    KINGLET_CHECK(
        engine.forward({.rows = batch.rows, .hidden = batch.hidden.data(), .layer_begin = begin, .layer_end = last}));
  if (watched)
    KINGLET_CHECK(engine.forward(
        {.rows = batch.rows, .hidden = batch.hidden.data(), .layer_begin = last, .layer_end = end, .hooks = &hooks}));
  return {};
}

/// Positions that are alive and have a slot in the layer, the least attended first, without the newest.
std::vector<std::int32_t> TokenPruner::rank(const SequenceCache& sequence, int layer,
                                            const std::vector<std::uint8_t>& alive) const {
  struct Scored {
    float score;
    std::int32_t position;
  };
  std::vector<Scored> all;
  const PositionMap& positions = sequence.positions(layer);
  const auto newest = static_cast<std::int64_t>(alive.size()) - 1;
  for (std::int64_t slot = 0; slot < sequence.slots(layer); ++slot) {
    const std::int64_t position = positions[slot];
    if (position >= newest || alive[static_cast<std::size_t>(position)] == 0) continue;
    float score = static_cast<std::size_t>(slot) < scores_.size() ? scores_[static_cast<std::size_t>(slot)] : 0;
    if (pruning_.random) score = random_score(position);
    all.push_back({score, static_cast<std::int32_t>(position)});
  }
  std::ranges::sort(all, [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score < b.score : a.position < b.position;
  });
  std::vector<std::int32_t> result;
  for (const Scored& one : all) result.push_back(one.position);
  return result;
}

/// Takes the rows of these positions (ascending) out of the batch; they wait behind the stage.
void TokenPruner::stop(SequenceCache& sequence, std::size_t stage, std::span<const std::int32_t> cut, Batch& batch) {
  WaitingRows& waiting = sequence.waiting[stage];
  std::size_t kept = 0;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const float* hidden = batch.hidden.data() + i * width_;
    if (std::ranges::binary_search(cut, batch.rows[i].position)) {
      waiting.positions.push_back(batch.rows[i].position);
      waiting.hidden.insert(waiting.hidden.end(), hidden, hidden + width_);
      continue;
    }
    batch.rows[kept] = batch.rows[i];
    std::copy_n(hidden, width_, batch.hidden.data() + kept++ * width_);
  }
  batch.rows.resize(kept);
  batch.hidden.resize(kept * width_);
}

/// Rows that wait behind the stage and are alive go on, before the newest; at most `most` of them.
void TokenPruner::call_back(SequenceCache& sequence, std::size_t stage, const std::vector<std::uint8_t>& alive,
                            std::size_t most, Batch& batch) {
  WaitingRows& waiting = sequence.waiting[stage];
  Batch called;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < waiting.positions.size(); ++i) {
    const float* hidden = waiting.hidden.data() + i * width_;
    const std::int32_t position = waiting.positions[i];
    if (alive[static_cast<std::size_t>(position)] != 0 && called.rows.size() < most) {
      called.rows.push_back({.sequence = &sequence, .position = position});
      called.hidden.insert(called.hidden.end(), hidden, hidden + width_);
      continue;
    }
    waiting.positions[kept] = position;
    std::copy_n(hidden, width_, waiting.hidden.data() + kept++ * width_);
  }
  waiting.positions.resize(kept);
  waiting.hidden.resize(kept * width_);
  batch.rows.insert(batch.rows.begin(), called.rows.begin(), called.rows.end());
  batch.hidden.insert(batch.hidden.begin(), called.hidden.begin(), called.hidden.end());
}

Result<void> TokenPruner::run(Engine& engine, SequenceCache& sequence, Batch& batch) {
  const bool starts = sequence.length() == 0;
  const auto rows = static_cast<int>(batch.rows.size());
  // A prompt that is not there as a whole has no last token to ask; what follows a prompt in several rows goes through.
  const bool prompt = starts && rows >= TokenPruning::kShortest && rows < engine.options().max_rows;
  if (!prompt && (rows > 1 || starts)) return run_layers(engine, batch, 0, layers_, false);
  sequence.waiting.resize(pruning_.stages.size());
  std::vector<std::uint8_t> alive(static_cast<std::size_t>(batch.rows.back().position) + 1, 1);
  int begin = 0;
  for (std::size_t stage = 0; stage < pruning_.stages.size(); ++stage) {
    const int end = pruning_.stages[stage].layer;
    KINGLET_CHECK(run_layers(engine, batch, begin, end, pruning_.stages[stage].rate > 0));
    begin = end;
    std::vector<std::int32_t> cut = rank(sequence, end - 1, alive);
    cut.resize(static_cast<std::size_t>(std::floor(pruning_.stages[stage].rate * static_cast<double>(cut.size() + 1))));
    for (const std::int32_t position : cut) alive[static_cast<std::size_t>(position)] = 0;
    std::ranges::sort(cut);
    stop(sequence, stage, cut, batch);
    call_back(sequence, stage, alive, static_cast<std::size_t>(engine.options().max_rows) - batch.rows.size(), batch);
  }
  return run_layers(engine, batch, begin, layers_, false);
}

}  // namespace kinglet
