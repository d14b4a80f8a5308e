#include "decode/sampler_chain.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/try.h"
#include "decode/softmax.h"

namespace kinglet {
namespace {

const SamplerOption* find_option(std::string_view name) {
  for (const SamplerDescriptor* sampler : samplers())
    for (const SamplerOption& option : sampler->options)
      if (option.name == name) return &option;
  return nullptr;
}

tl::unexpected<Error> nothing_to_draw() {
  return fail(
      ErrorCode::kCorrupt, "no token can be drawn: every logit is NaN, minus infinity or forbidden",
      "The model's weights may be damaged (check its SHA-256), or logit biases and grammar exclude everything.");
}

}  // namespace

double sampler_value(const SamplerValues& values, std::string_view name) {
  if (const auto at = values.find(name); at != values.end()) return at->second;
  const SamplerOption* option = find_option(name);
  return option ? option->fallback : 0;
}

Result<void> check_sampler_values(const SamplerValues& values) {
  for (const auto& [name, value] : values) {
    if (name.starts_with("logit-bias:")) {
      if (std::isnan(value)) return fail(ErrorCode::kInvalidArgument, name + " is not a number");
      continue;
    }
    const SamplerOption* option = find_option(name);
    if (!option) return fail(ErrorCode::kInvalidArgument, "no sampler has an option '" + name + "'");
    if (!(value >= option->min && value <= option->max))
      return fail(ErrorCode::kInvalidArgument, name + " is " + std::to_string(value) + ", expected " +
                                                   std::to_string(option->min) + " to " + std::to_string(option->max));
    if (option->integer && value != std::floor(value))
      return fail(ErrorCode::kInvalidArgument, name + " is " + std::to_string(value) + ", expected a whole number");
  }
  return {};
}

Result<SamplerChain> SamplerChain::make(const SamplerValues& values, std::uint64_t seed,
                                        std::vector<std::shared_ptr<LogitsProcessor>> further) {
  KINGLET_CHECK(check_sampler_values(values));
  SamplerChain chain;
  chain.random_ = Random(seed);
  chain.greedy_ = sampler_value(values, "temperature") == 0;
  chain.processors_ = std::move(further);
  std::vector<const SamplerDescriptor*> order(samplers().begin(), samplers().end());
  std::sort(order.begin(), order.end(),
            [](auto* a, auto* b) { return a->order != b->order ? a->order < b->order : a->name < b->name; });
  for (const SamplerDescriptor* sampler : order) {
    if (chain.greedy_ && sampler->order >= kShapingOrder) continue;
    if (auto processor = sampler->make(values)) chain.processors_.push_back(std::move(processor));
  }
  return chain;
}

tl::unexpected<Error> SamplerChain::nothing_left() const {
  for (const auto& processor : processors_)
    if (auto error = processor->failure()) return tl::unexpected(std::move(*error));
  return nothing_to_draw();
}

std::optional<std::span<const TokenId>> SamplerChain::allowed() {
  bool any = false;
  for (const auto& processor : processors_) {
    const auto ids = processor->allowed();
    if (!ids) continue;
    if (!any) {
      allowed_.assign(ids->begin(), ids->end());
    } else {
      scratch_.clear();
      std::set_intersection(allowed_.begin(), allowed_.end(), ids->begin(), ids->end(), std::back_inserter(scratch_));
      allowed_.swap(scratch_);
    }
    any = true;
  }
  if (!any) return std::nullopt;
  return std::span<const TokenId>(allowed_);
}

Result<TokenId> SamplerChain::pick_best(std::span<const float> row) {
  const std::size_t best = argmax(row);
  if (best == row.size()) return nothing_to_draw();
  return static_cast<TokenId>(best);
}

Result<TokenId> SamplerChain::pick(Candidates& candidates) {
  for (const auto& processor : processors_) processor->apply(candidates);
  const std::size_t best = candidates.best();
  if (best == candidates.size()) return nothing_left();
  if (greedy_) return candidates.id(best);
  // One draw a token, whatever is drafted: a seed gives the same text with and without a drafter.
  const auto logits = candidates.logits();
  const float max = logits[best];
  double rest = random_.uniform() * exp_sum(logits, max);
  std::size_t last = best;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double weight = exp_nonpositive(logits[i] - max);
    if (weight == 0) continue;
    last = i;
    rest -= weight;
    if (rest < 0) break;
  }
  return candidates.id(last);
}

void SamplerChain::foresee(std::size_t most, std::vector<TokenId>& out) {
  out.clear();
  for (const auto& processor : processors_) {
    processor->foresee(most, out);
    if (!out.empty()) return;
  }
}

Result<TokenId> SamplerChain::pick_drafted(Candidates& candidates, TokenId proposal,
                                           std::span<const std::pair<TokenId, float>> drafted) {
  for (const auto& processor : processors_) processor->apply(candidates);
  const std::size_t best = candidates.best();
  if (best == candidates.size()) return nothing_left();
  const auto logits = candidates.logits();
  const float max = logits[best];
  const double total = exp_sum(logits, max);
  for (const auto& [id, probability] : drafted) {
    if (drafted_.size() <= static_cast<std::size_t>(id)) drafted_.resize(static_cast<std::size_t>(id) + 1);
    drafted_[static_cast<std::size_t>(id)] = probability;
  }
  const auto drafted_probability = [&](TokenId id) -> double {
    return static_cast<std::size_t>(id) < drafted_.size() ? drafted_[static_cast<std::size_t>(id)] : 0;
  };
  const double chance = random_.uniform(), place = random_.uniform();
  weights_.resize(logits.size());
  double rest = 0;
  bool stands = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const TokenId id = candidates.id(i);
    const double p = exp_nonpositive(logits[i] - max) / total, q = drafted_probability(id);
    if (id == proposal) stands = chance * q < p;
    weights_[i] = std::max(p - q, 0.0);
    rest += weights_[i];
  }
  for (const auto& [id, probability] : drafted) drafted_[static_cast<std::size_t>(id)] = 0;
  if (stands) return proposal;
  std::size_t last = best;  // rounding may leave nothing: then p and q are one distribution
  double point = place * rest;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] == 0) continue;
    last = i;
    point -= weights_[i];
    if (point < 0) break;
  }
  return candidates.id(last);
}

void SamplerChain::accept(TokenId id) {
  for (const auto& processor : processors_) processor->accept(id);
}

void SamplerChain::rollback(std::int64_t count) {
  if (count <= 0) return;
  for (const auto& processor : processors_) processor->rollback(count);
}

}  // namespace kinglet
