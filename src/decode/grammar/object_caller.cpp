#include "decode/grammar/object_caller.h"

#include <algorithm>
#include <bit>

namespace kinglet::grammar {
namespace {

enum Step : std::uint64_t { kBegin, kFirst, kAfterPair, kNextPair, kDone, kValue };

unsigned bits_for(std::uint64_t largest) { return static_cast<unsigned>(std::bit_width(largest)); }

}  // namespace

NodeState ObjectCaller::pack(std::uint64_t step, std::uint64_t which, Bits bits) {
  return {step | which << kStepBits | static_cast<std::uint64_t>(bits >> 64) << (kStepBits + kWhichBits),
          static_cast<std::uint64_t>(bits)};
}

bool ObjectCaller::settle() {
  endless_ = std::any_of(further.begin(), further.end(), [](const Property& p) { return !p.required; });
  unsigned at = 0;
  const auto field = [&](unsigned width) {
    const Field made{at, width};
    at += width;
    return made;
  };
  count_ = field(bits_for(max != kNoLimit ? max : min));
  first_seen_ = at;
  std::uint32_t tracked = any_order ? static_cast<std::uint32_t>(declared.size()) : 0;
  for (const Property& p : further) tracked_.push_back(p.required ? tracked++ : kUntracked);
  at += tracked;
  if (at > kRoom || declared.size() + further.size() >= (std::size_t{1} << kWhichBits)) return false;
  if (any_order) return true;
  for (std::uint32_t i = 0; i < declared.size(); ++i)
    if (i == 0 || declared[i].run != declared[i - 1].run)
      runs_.push_back({i, i + 1, {}});
    else
      runs_.back().end = i + 1;
  const auto room = [&] {
    unsigned sum = at;
    for (const Run& run : runs_) sum += bits_for(run.end - run.begin);
    return sum;
  };
  while (runs_.size() > 1 && room() > kRoom) {
    const std::uint32_t end = runs_.back().end;
    runs_.pop_back();
    runs_.back().end = end;
  }
  if (room() > kRoom) return false;
  for (Run& run : runs_) run.next = field(bits_for(run.end - run.begin));
  return true;
}

std::uint64_t ObjectCaller::required_left(Bits bits) const {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < further.size(); ++i) n += further[i].required && !seen(tracked_[i], bits) ? 1 : 0;
  if (any_order) {
    for (std::size_t i = 0; i < declared.size(); ++i) n += declared[i].required && !seen(i, bits) ? 1 : 0;
    return n;
  }
  for (const Run& run : runs_)
    for (std::uint64_t i = run.begin + run.next.of(bits); i < run.end; ++i) n += declared[i].required ? 1 : 0;
  return n;
}

bool ObjectCaller::may_close(Bits bits) const { return count_.of(bits) >= min && required_left(bits) == 0; }

// Enough properties are still to be had for the rest of the object.
bool ObjectCaller::can_end(Bits bits) const {
  const std::uint64_t count = count_.of(bits);
  if (max != kNoLimit && count + required_left(bits) > max) return false;
  if (count >= min || endless_) return true;
  std::uint64_t left = 0;
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i) left += seen(i, bits) ? 0 : 1;
  for (const Run& run : runs_) left += run.end - run.begin - run.next.of(bits);
  for (std::size_t i = 0; i < further.size(); ++i) left += seen(tracked_[i], bits) ? 0 : 1;
  return count + left >= min;
}

void ObjectCaller::pair(std::size_t which, Bits after, std::vector<Edge>& out) const {
  const std::uint64_t count = count_.of(after);
  if (max != kNoLimit && count >= max) return;
  after = count_.with(after, max != kNoLimit ? count + 1 : std::min(count + 1, min));
  if (!can_end(after)) return;
  const Property& p = which < declared.size() ? declared[which] : further[which - declared.size()];
  out.push_back({p.key, pack(kValue, which, after)});
}

void ObjectCaller::pairs(Bits bits, std::vector<Edge>& out) const {
  const auto mark = [&](std::size_t bit) { return bits | Bits{1} << (first_seen_ + bit); };
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i)
      if (!seen(i, bits)) pair(i, mark(i), out);
  bool waiting = false;  // for a required property, which nothing may leave behind
  Bits past = bits;
  for (const Run& run : runs_) {
    for (std::uint32_t i = run.begin + static_cast<std::uint32_t>(run.next.of(bits)); i < run.end; ++i) {
      pair(i, run.next.with(bits, i + 1 - run.begin), out);
      if (!declared[i].required) continue;
      waiting = true;
      break;
    }
    past = run.next.with(past, run.end - run.begin);
  }
  if (waiting) return;
  bits = past;
  for (std::size_t i = 0; i < further.size(); ++i) {
    const std::size_t which = declared.size() + i;
    if (tracked_[i] == kUntracked)
      pair(which, bits, out);
    else if (!seen(tracked_[i], bits))
      pair(which, mark(tracked_[i]), out);
  }
}

bool ObjectCaller::edges(NodeState state, std::vector<Edge>& out) const {
  const std::uint64_t step = state.a & ((1u << kStepBits) - 1);
  const Bits bits = Bits{state.a >> (kStepBits + kWhichBits)} << 64 | state.b;
  switch (step) {
    case kBegin:
      out.push_back({marks.open_object, pack(kFirst, 0, 0)});
      return false;
    case kFirst:
    case kNextPair:
      pairs(bits, out);
      if (step == kFirst && may_close(bits)) out.push_back({marks.close_object, pack(kDone, 0, 0)});
      return false;
    case kAfterPair: {
      std::vector<Edge> more;
      pairs(bits, more);
      if (!more.empty()) out.push_back({marks.comma, pack(kNextPair, 0, bits)});
      if (may_close(bits)) out.push_back({marks.close_object, pack(kDone, 0, 0)});
      return false;
    }
    case kValue: {
      const std::uint64_t which = state.a >> kStepBits & ((1u << kWhichBits) - 1);
      const Property& p = which < declared.size() ? declared[which] : further[which - declared.size()];
      out.push_back({p.value, pack(kAfterPair, 0, bits)});
      return false;
    }
    default:
      return true;
  }
}

}  // namespace kinglet::grammar
