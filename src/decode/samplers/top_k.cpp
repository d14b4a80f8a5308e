#include <memory>

#include "kinglet/sampling.h"

namespace kinglet {
namespace {

class TopK final : public LogitsProcessor {
 public:
  explicit TopK(std::size_t count) : count_(count) {}
  void apply(Candidates& candidates) override {
    if (count_ < candidates.size()) candidates.keep_top(count_);
  }

 private:
  std::size_t count_;
};

const SamplerOption kOptions[] = {
    {"top-k", "Draw among the N most likely tokens; 0 is all", 0, 0, 1e6, true},
};

std::unique_ptr<LogitsProcessor> make(const SamplerValues& values) {
  const auto count = static_cast<std::size_t>(sampler_value(values, "top-k"));
  return count == 0 ? nullptr : std::make_unique<TopK>(count);
}

}  // namespace

extern const SamplerDescriptor sampler_top_k{"top-k", "", "keeps the K most likely tokens", 60, kOptions, make};

}  // namespace kinglet
