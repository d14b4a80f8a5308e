#include "decode/follower.h"

#include <algorithm>

#include "base/try.h"
#include "decode/softmax.h"

namespace kinglet {

std::size_t Follower::common(std::span<const TokenId> ids) const {
  return static_cast<std::size_t>(std::mismatch(fed_.begin(), fed_.end(), ids.begin(), ids.end()).first - fed_.begin());
}

Result<void> Follower::read(std::span<const TokenId> text, std::size_t count) {
  std::size_t kept = std::min(common(text), text.size() - count);
  // A sliding layer may have forgotten what a shorter text needs: then all is read again.
  if (sequence_ == nullptr || (kept < fed_.size() && !sequence_->truncate(static_cast<std::int64_t>(kept)))) {
    KINGLET_TRY(sequence_, engine_.new_sequence());
    kept = 0;
  }
  fed_.resize(kept);
  rows_.clear();
  wanted_.clear();
  for (std::size_t i = kept; i < text.size(); ++i) {
    if (i >= text.size() - count) wanted_.push_back(static_cast<std::int32_t>(rows_.size()));
    rows_.push_back({.sequence = sequence_.get(), .position = static_cast<std::int32_t>(i)});
  }
  if (rows_.empty()) return {};
  logits_.resize(std::max(logits_.size(), count * vocabulary()));
  KINGLET_CHECK(engine_.step(rows_, text.subspan(kept), wanted_, logits_.data()));
  ++passes_;
  fed_rows_ += static_cast<std::int64_t>(rows_.size());
  fed_.assign(text.begin(), text.end());
  return {};
}

TokenId Follower::best(std::size_t index) {
  return static_cast<TokenId>(std::min(argmax(row(index)), vocabulary() - 1));
}

Result<float*> Follower::hidden_after(TokenId id) {
  const Row row{.sequence = sequence_.get(), .position = static_cast<std::int32_t>(fed_.size())};
  hidden_.resize(static_cast<std::size_t>(engine_.model().config().width));
  KINGLET_CHECK(engine_.embed({&id, 1}, {&row.position, 1}, hidden_.data()));
  KINGLET_CHECK(engine_.forward({.rows = {&row, 1}, .hidden = hidden_.data()}));
  ++passes_;
  ++fed_rows_;
  fed_.push_back(id);
  return hidden_.data();
}

}  // namespace kinglet
