// Prompt lookup: what followed the last tokens where they stood before may follow again (Saxena 2023). Free to propose
// and strong on text that repeats itself: code, tables, summaries, quotations.
#include <algorithm>
#include <memory>

#include "decode/ngram_index.h"
#include "kinglet/draft.h"

namespace kinglet {
namespace {

class NgramDrafter final : public Drafter {
 public:
  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    const NgramIndex::Match match = index_.find(text);
    if (match.length == 0) return;
    if (pause_ > 0) {
      --pause_;
      return;
    }
    // Rows that are refused cost time, so a proposal is as long as the last ones were right.
    const auto count = static_cast<std::size_t>(std::min(budget, length_));
    const std::size_t period = text.size() - match.after;  // past the end of the text the same stretch comes again
    for (std::size_t i = 0; i < count; ++i)
      draft.push(i < period ? text[match.after + i] : draft.tokens[i - period], static_cast<std::int32_t>(i) - 1);
    proposed_ = static_cast<int>(count);
  }

  void observe(int accepted) override {
    if (accepted == proposed_) {
      length_ = std::min(length_ * 2, kLongestProposal);
    } else {
      length_ = std::max(accepted + 1, 2);
    }
    misses_ = accepted == 0 ? misses_ + 1 : 0;
    if (misses_ >= kPatience) pause_ = std::min(1 << (misses_ - kPatience), kLongestPause);
  }

 private:
  static constexpr int kLongestProposal = 64, kPatience = 3, kLongestPause = 16;
  NgramIndex index_;
  int length_ = 4, proposed_ = 0, misses_ = 0, pause_ = 0;
};

Result<std::unique_ptr<Drafter>> make(Engine&) { return std::make_unique<NgramDrafter>(); }

}  // namespace

extern const DrafterDescriptor drafter_ngram{
    "ngram", "", "what followed the last one to three tokens where they stood before in the text", make};

}  // namespace kinglet
