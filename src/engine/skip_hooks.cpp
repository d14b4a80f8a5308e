#include "engine/skip_hooks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/cache/sequence_cache.h"

namespace kinglet {

double cosine(std::span<const float> a, std::span<const float> b) {
  constexpr std::size_t kLanes = 8;
  double ab[kLanes] = {}, aa[kLanes] = {}, bb[kLanes] = {};
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab[i % kLanes] += x * y, aa[i % kLanes] += x * x, bb[i % kLanes] += y * y;
  }
  double top = 0, left = 0, right = 0;
  for (std::size_t i = 0; i < kLanes; ++i) top += ab[i], left += aa[i], right += bb[i];
  return left > 0 && right > 0 ? top / std::sqrt(left * right) : 0;
}

bool SkipHooks::begin(const FeedForwardSkip& skip, const ForwardCall& call) {
  skip_ = &skip;
  rows_ = call.rows;
  states_.assign(call.rows.size(), {});
  bool any = false;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    auto* sequence = dynamic_cast<SequenceCache*>(rows_[i].sequence);
    if (sequence == nullptr) continue;
    const bool alone = std::ranges::count(rows_, rows_[i].sequence, &Row::sequence) == 1;
    sequence->answered = alone ? sequence->answered + 1 : 0;
    states_[i].may_skip = sequence->answered > skip.warm_up;
    any |= states_[i].may_skip;
  }
  if (!any) return false;
  if (skip.rule == SkipRule::kLayers) entered_.assign(call.hidden, call.hidden + rows_.size() * width_);
  hooks_.feed_forward = [this](int layer, std::span<const float> hidden, std::span<std::uint8_t> run) {
    choose(layer, hidden, run);
  };
  hooks_.after_layer = [this](int layer, std::span<float> hidden) { watch(layer, hidden); };
  return true;
}

/// Uniform in [0, 1) from the row's position and the layer: the same in every run.
double chance_of(std::int32_t position, int layer) {
  std::uint64_t z = static_cast<std::uint64_t>(position) * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(layer) + 1;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

bool SkipHooks::skips(int layer, std::size_t row) {
  const auto at = static_cast<std::size_t>(layer);
  switch (skip_->rule) {
    case SkipRule::kStatic:
    case SkipRule::kLayers:
      return skip_->off[at] != 0;
    case SkipRule::kRandom:
      return skip_->cold[at] == 0 && chance_of(rows_[row].position, layer) < skip_->chance;
    case SkipRule::kAdaptive:
      break;
  }
  RowState& state = states_[row];
  if (skip_->cold[at] != 0 || state.left == 0) return false;
  --state.left;
  return true;
}

void SkipHooks::choose(int layer, std::span<const float> hidden, std::span<std::uint8_t> run) {
  std::int64_t ran = 0, skipped = 0;
  before_.resize(std::max(before_.size(), hidden.size()));
  for (std::size_t i = 0; i < states_.size(); ++i) {
    RowState& state = states_[i];
    if (!state.may_skip) continue;
    const bool skip = skips(layer, i);
    run[i] = skip ? 0 : 1;
    skip ? ++skipped : ++ran;
    state.watched = !skip && skip_->rule == SkipRule::kAdaptive && skip_->cold[static_cast<std::size_t>(layer)] == 0;
    if (state.watched) std::copy_n(hidden.data() + i * width_, width_, before_.data() + i * width_);
  }
  skip_->ran += ran;
  skip_->skipped += skipped;
}

void SkipHooks::watch(int layer, std::span<float> hidden) {
  const bool drops = skip_->rule == SkipRule::kLayers;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    RowState& state = states_[i];
    if (!state.may_skip) continue;
    float* row = hidden.data() + i * width_;
    if (drops && skip_->off[static_cast<std::size_t>(layer)] != 0) {
      // Its keys and values are in the cache; what it would have added is dropped.
      std::copy_n(entered_.data() + i * width_, width_, row);
    } else if (state.watched && cosine({before_.data() + i * width_, width_}, {row, width_}) >= skip_->threshold) {
      state.left = skip_->probe > 0 ? skip_->probe : std::numeric_limits<int>::max();
    }
    if (drops) std::copy_n(row, width_, entered_.data() + i * width_);
  }
}

}  // namespace kinglet
