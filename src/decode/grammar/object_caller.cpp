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
  endless_ = std::any_of(further.begin(), further.end(), [](const Property& p) { return !p.once; });
  unsigned at = 0;
  const auto field = [&](unsigned width) {
    const Field made{at, width};
    at += width;
    return made;
  };
  count_ = field(bits_for(max != kNoLimit ? max : min));
  // In any order the choices that still can hold follow from what was seen.
  if (!any_order && choices > 1) alive_ = field(static_cast<unsigned>(choices));
  first_seen_ = at;
  std::uint32_t tracked = any_order ? static_cast<std::uint32_t>(declared.size()) : 0;
  for (const Property& p : further) tracked_.push_back(p.once ? tracked++ : kUntracked);
  at += tracked;
  if (at > kRoom || choices > kMostChoices || declared.size() + further.size() >= (std::size_t{1} << kWhichBits))
    return false;
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

bool ObjectCaller::possible() const {
  const Choices all = (Choices{1} << choices) - 1;
  return can_end(alive_.with(0, all), all);
}

template <typename Visit>
void ObjectCaller::each_left(Bits bits, Visit visit) const {
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i)
      if (!seen(i, bits)) visit(declared[i]);
  for (const Run& run : runs_)
    for (std::uint64_t i = run.begin + run.next.of(bits); i < run.end; ++i) visit(declared[i]);
  for (std::size_t i = 0; i < further.size(); ++i)
    if (further[i].once && !seen(tracked_[i], bits)) visit(further[i]);
}

/// The choices that what was read leaves open.
ObjectCaller::Choices ObjectCaller::alive(Bits bits) const {
  if (choices == 1) return 1;
  if (!any_order) return alive_.of(bits);
  Choices open = (Choices{1} << choices) - 1;
  for (std::size_t i = 0; i < declared.size(); ++i)
    if (seen(i, bits)) open &= ~declared[i].forbidden;
  for (std::size_t i = 0; i < further.size(); ++i)
    if (further[i].once && seen(tracked_[i], bits)) open &= ~further[i].forbidden;
  return open;
}

bool ObjectCaller::may_close(Bits bits) const {
  if (count_.of(bits) < min) return false;
  Choices open = alive(bits);
  each_left(bits, [&](const Property& p) { open &= ~p.required; });
  return open != 0;
}

// Some choice leaves enough properties, and not too many, for the rest of the object.
bool ObjectCaller::can_end(Bits bits, Choices alive) const {
  const std::uint64_t count = count_.of(bits);
  if (max == kNoLimit && (count >= min || endless_)) return alive != 0;
  for (; alive != 0; alive &= alive - 1) {
    const Choices one = alive & -alive;
    std::uint64_t needed = 0, left = 0;
    each_left(bits, [&](const Property& p) {
      needed += (p.required & one) != 0 ? 1 : 0;
      left += (p.forbidden & one) == 0 ? 1 : 0;
    });
    if ((max == kNoLimit || count + needed <= max) && (count >= min || endless_ || count + left >= min)) return true;
  }
  return false;
}

void ObjectCaller::pair(std::size_t which, Bits after, Choices alive, std::vector<Edge>& out) const {
  const Property& p = property(which);
  alive &= ~p.forbidden;
  const std::uint64_t count = count_.of(after);
  if (alive == 0 || (max != kNoLimit && count >= max)) return;
  after = count_.with(after, max != kNoLimit ? count + 1 : std::min(count + 1, min));
  after = alive_.with(after, alive);
  if (can_end(after, alive)) out.push_back({p.key, pack(kValue, which, after)});
}

void ObjectCaller::pairs(Bits bits, std::vector<Edge>& out) const {
  const auto mark = [&](std::size_t bit) { return bits | Bits{1} << (first_seen_ + bit); };
  const Choices open = alive(bits);
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i)
      if (!seen(i, bits)) pair(i, mark(i), open, out);
  Bits past = bits;
  Choices left = open;  // after leaving all declared ones behind
  for (const Run& run : runs_) {
    Choices here = open;
    for (std::uint32_t i = run.begin + static_cast<std::uint32_t>(run.next.of(bits)); i < run.end && here != 0; ++i) {
      pair(i, run.next.with(bits, i + 1 - run.begin), here, out);
      here &= ~declared[i].required;
    }
    left &= here;
    past = run.next.with(past, run.end - run.begin);
  }
  if (left == 0) return;
  bits = past;
  for (std::size_t i = 0; i < further.size(); ++i) {
    const std::size_t which = declared.size() + i;
    if (!further[i].once)
      pair(which, bits, left, out);
    else if (!seen(tracked_[i], bits))
      pair(which, mark(tracked_[i]), left, out);
  }
}

bool ObjectCaller::edges(NodeState state, std::vector<Edge>& out) const {
  const std::uint64_t step = state.a & ((1u << kStepBits) - 1);
  const Bits bits = Bits{state.a >> (kStepBits + kWhichBits)} << 64 | state.b;
  switch (step) {
    case kBegin:
      out.push_back({marks.open_object, pack(kFirst, 0, alive_.with(0, (Choices{1} << choices) - 1))});
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
      out.push_back({property(which).value, pack(kAfterPair, 0, bits)});
      return false;
    }
    default:
      return true;
  }
}

}  // namespace kinglet::grammar
