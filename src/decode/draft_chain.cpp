#include "decode/draft_chain.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/try.h"
#include "decode/softmax.h"

namespace kinglet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Confidence::Confidence() {
  for (std::size_t i = 0; i < kBuckets; ++i) rates_[i] = 0.9 * (static_cast<double>(i) + 0.5) / kBuckets;
}

std::size_t Confidence::bucket(double probability) {
  return static_cast<std::size_t>(std::clamp(probability * kBuckets, 0.0, kBuckets - 1.0));
}

void Confidence::count(double probability, bool stood) {
  double& rate = rates_[bucket(probability)];
  rate += 0.05 * ((stood ? 1.0 : 0.0) - rate);
}

ChainDrafter::ChainDrafter(std::unique_ptr<ChainSource> source, const DraftContext& context)
    : source_(std::move(source)),
      costs_(context.costs()),
      temperature_(context.temperature),
      least_probability_(context.least_probability),
      draws_(context.wants_distributions && context.temperature > 0),
      random_(context.seed ^ 0x6472616674657273u) {}  // other numbers than the target's draws

void ChainDrafter::propose(std::span<const TokenId> text, int budget, Draft& draft) {
  spent_ = 0;
  if (failed_ || budget <= 0) return;
  const auto start = Clock::now();
  probabilities_.clear();
  auto done = source_->begin(text);
  if (done) done = extend(text, std::min(budget, kMostTokens), draft);
  // A source that fails (its context is full, its memory ended) costs speed and never the answer.
  if (auto ended = source_->end(); !done || !ended) {
    failed_ = true;
    draft.clear();
  }
  if (costs_->level() > 0) spent_ = seconds_since(start) / costs_->level();
}

Result<void> ChainDrafter::extend(std::span<const TokenId> text, int budget, Draft& draft) {
  expected_ = reached_ = 1;
  TokenId last = text.back();
  double sure = 1;
  for (int i = 0; i < budget; ++i) {
    // Whether there is a next token must not depend on which one would be drawn, or the acceptance were not exact.
    if (weighs_ ? i > 0 && !goes_on(sure, draft) : sure < least_probability_) break;
    const auto start = Clock::now();
    KINGLET_TRY(const std::span<float> logits, source_->next(last));
    const auto [token, probability] = choose(logits, draft);
    if (const double level = costs_->level(); level > 0) {
      const double step = seconds_since(start) / level;
      step_ = step_ == 0 ? step : step_ + 0.1 * (std::min(step, 4 * step_) - step_);
    }
    sure = probability;
    if (draws_) draft.drawn_from.push_back(static_cast<std::int32_t>(draft.distributions.size()) - 1);
    draft.push(token, i - 1);
    probabilities_.push_back(probability);
    last = token;
    reached_ *= confidence_.rate(probability);
    expected_ += reached_;
  }
  if (draws_) draft.distributions.resize(draft.size());
  return {};
}

/// Whether one more token, as likely as this one, would raise what the proposal is worth.
bool ChainDrafter::goes_on(double probability, const Draft& draft) {
  const auto drafted = draft.size();
  const double spent = step_ * static_cast<double>(drafted);
  const double more = expected_ + reached_ * confidence_.rate(probability);
  return costs_->value(drafted + 1, more, spent + step_) > costs_->value(drafted, expected_, spent);
}

/// The next token of the proposal and the source's probability of it. Drawn tokens add their distribution.
std::pair<TokenId, double> ChainDrafter::choose(std::span<float> logits, Draft& draft) {
  const auto ids = source_->ids();
  const auto id_of = [&](std::size_t index) { return ids.empty() ? static_cast<TokenId>(index) : ids[index]; };
  const std::size_t best = std::min(argmax(logits), logits.size() - 1);
  const float max = logits[best];
  if (!draws_) return {id_of(best), 1 / exp_sum(logits, max)};
  best_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if ((logits[i] - max) / temperature_ > -12) best_.emplace_back(logits[i], id_of(i));
  if (best_.size() > kDrawn) {
    std::nth_element(best_.begin(), best_.begin() + kDrawn, best_.end(), std::greater<>());
    best_.resize(kDrawn);
  }
  std::sort(best_.begin(), best_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  DraftDistribution distribution;
  double total = 0;
  for (const auto& [logit, id] : best_) total += std::exp((logit - max) / temperature_);
  for (const auto& [logit, id] : best_)
    distribution.emplace_back(id, static_cast<float>(std::exp((logit - max) / temperature_) / total));
  double point = random_.uniform();
  std::size_t drawn = 0;
  // The distribution as it is told, rounded to f32, is the one that is drawn from.
  for (double sum = 0; drawn + 1 < distribution.size(); ++drawn)
    if ((sum += distribution[drawn].second) > point) break;
  const auto chosen = distribution[drawn];
  draft.distributions.push_back(std::move(distribution));
  return {chosen.first, chosen.second};
}

void ChainDrafter::observe(int accepted) {
  for (std::size_t i = 0; i < probabilities_.size() && i <= static_cast<std::size_t>(accepted); ++i)
    confidence_.count(probabilities_[i], i < static_cast<std::size_t>(accepted));
}

}  // namespace kinglet
