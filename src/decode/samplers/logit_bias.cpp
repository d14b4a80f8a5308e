#include <charconv>
#include <memory>
#include <utility>
#include <vector>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

constexpr std::string_view kPrefix = "logit-bias:";

class LogitBias final : public LogitsProcessor {
 public:
  explicit LogitBias(std::vector<std::pair<TokenId, float>> biases) : biases_(std::move(biases)) {}
  void apply(Candidates& candidates) override {
    candidates.change_logits();
    for (const auto& [id, bias] : biases_)
      if (float* logit = candidates.find(id)) *logit += bias;
  }

 private:
  std::vector<std::pair<TokenId, float>> biases_;
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  std::vector<std::pair<TokenId, float>> biases;
  for (auto at = values.lower_bound(kPrefix); at != values.end() && at->first.starts_with(kPrefix); ++at) {
    TokenId id = -1;
    const char* end = at->first.data() + at->first.size();
    const auto [rest, error] = std::from_chars(at->first.data() + kPrefix.size(), end, id);
    if (error == std::errc() && rest == end && at->second != 0) biases.emplace_back(id, static_cast<float>(at->second));
  }
  return biases.empty() ? nullptr : std::make_unique<LogitBias>(std::move(biases));
}

}  // namespace

extern const SamplerDescriptor sampler_logit_bias{
    "logit-bias", "", "adds a value to the logits of chosen tokens; -infinity forbids them", 10, {}, make};

}  // namespace kinglet
