#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

/// Makes tokens of the last `window` tokens (prompt included) less likely. Repetition (Keskar et al. 2019) divides a
/// positive logit and multiplies a negative one; presence subtracts once, frequency once an occurrence.
class Penalties final : public LogitsProcessor {
 public:
  Penalties(double repetition, double presence, double frequency, std::int64_t window)
      : repetition_(static_cast<float>(repetition)),
        presence_(static_cast<float>(presence)),
        frequency_(static_cast<float>(frequency)),
        window_(window) {
    // Enough for a usual answer, so that tokens allocate nothing.
    history_.reserve(4096);
    counts_.reserve(1024);
  }

  void apply(Candidates& candidates) override {
    if (counts_.empty()) return;
    const bool dense = candidates.dense();
    const auto logits = candidates.change_logits();
    if (dense) {
      for (const Count& seen : counts_)
        if (float* logit = candidates.find(seen.id)) *logit = penalised(*logit, seen.count);
      return;
    }
    for (std::size_t i = 0; i < logits.size(); ++i)
      if (const auto at = place_of(candidates.id(i)); at != counts_.end() && at->id == candidates.id(i))
        logits[i] = penalised(logits[i], at->count);
  }

  void accept(TokenId id) override {
    history_.push_back(id);
    remember(id);
    if (leaving() >= 0) forget(history_[static_cast<std::size_t>(leaving())]);
  }

  void rollback(std::int64_t count) override {
    for (; count > 0 && !history_.empty(); --count) {
      if (leaving() >= 0) remember(history_[static_cast<std::size_t>(leaving())]);
      forget(history_.back());
      history_.pop_back();
    }
  }

 private:
  /// The token that the last accept pushed out of the window; negative: none.
  std::int64_t leaving() const { return window_ < 0 ? -1 : static_cast<std::int64_t>(history_.size()) - 1 - window_; }
  struct Count {
    TokenId id;
    std::int32_t count;
  };
  std::vector<Count>::iterator place_of(TokenId id) {
    return std::lower_bound(counts_.begin(), counts_.end(), id, [](const Count& a, TokenId b) { return a.id < b; });
  }
  void remember(TokenId id) {
    const auto at = place_of(id);
    if (at != counts_.end() && at->id == id)
      ++at->count;
    else
      counts_.insert(at, {id, 1});
  }
  void forget(TokenId id) {
    const auto at = place_of(id);
    if (at != counts_.end() && at->id == id && --at->count == 0) counts_.erase(at);
  }
  float penalised(float logit, std::int32_t count) const {
    logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    return logit - presence_ - frequency_ * static_cast<float>(count);
  }

  float repetition_, presence_, frequency_;
  std::int64_t window_;
  std::vector<TokenId> history_;
  std::vector<Count> counts_;  ///< of the window, by id
};

const SamplerOption kOptions[] = {
    {"repetition-penalty", "Divide the logits of tokens that already stand in the text by X; 1 is off", 1, 0.01, 100},
    {"presence-penalty", "Subtract X from the logits of tokens that already stand in the text", 0, -100, 100},
    {"frequency-penalty", "Subtract X from a token's logit once for each time that it stands in the text", 0, -100,
     100},
    {"penalty-window", "How many of the last tokens the penalties look at; -1 is all", 64, -1, 1e9, true},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const double repetition = sampler_value(values, "repetition-penalty");
  const double presence = sampler_value(values, "presence-penalty");
  const double frequency = sampler_value(values, "frequency-penalty");
  const auto window = static_cast<std::int64_t>(sampler_value(values, "penalty-window"));
  if ((repetition == 1 && presence == 0 && frequency == 0) || window == 0) return nullptr;
  return std::make_unique<Penalties>(repetition, presence, frequency, window);
}

}  // namespace

extern const SamplerDescriptor sampler_penalties{
    "penalties", "", "makes tokens that already stand in the text less likely", 20, kOptions, make};

}  // namespace kinglet
