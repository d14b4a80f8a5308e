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
  weight_ = (declared.size() + further.size()) * choices / 32;
  endless_ = std::any_of(further.begin(), further.end(), [](const Property& p) { return !p.once; });
  unsigned at = 0;
  const auto field = [&](unsigned width) {
    const Field made{at, width};
    at += width;
    return made;
  };
  count_ = field(bits_for(max != kNoLimit ? max : min));
  for (std::size_t c = 0; c < choices && c < kMostChoices; ++c) all_.set(c);
  // Where declared properties have an order, only those have to be remembered that some choices speak of, and not all
  // in the same way.
  for (const Property& p : declared)
    seen_.push_back(any_order || p.forbidden.any() || (p.required.any() && p.required != all_) ? at++ : kUntracked);
  for (const Property& p : further) seen_.push_back(p.once ? at++ : kUntracked);
  if (at > kRoom || choices > kMostChoices || seen_.size() >= (std::size_t{1} << kWhichBits)) return false;
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

bool ObjectCaller::possible() const { return can_end(0, all_, tally(0)); }

template <typename Visit>
void ObjectCaller::each_left(Bits bits, Visit visit) const {
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i)
      if (!seen(i, bits)) visit(declared[i]);
  for (const Run& run : runs_)
    for (std::uint64_t i = run.begin + run.next.of(bits); i < run.end; ++i) visit(declared[i]);
  for (std::size_t i = 0; i < further.size(); ++i)
    if (further[i].once && !seen(declared.size() + i, bits)) visit(further[i]);
}

// The choices that what was read leaves open.
ObjectCaller::Choices ObjectCaller::alive(Bits bits) const {
  Choices open = all_;
  if (choices == 1) return open;
  for (std::size_t i = 0; i < seen_.size(); ++i)
    if (seen_[i] != kUntracked && seen(i, bits)) open &= ~property(i).forbidden;
  for (const Run& run : runs_)
    for (std::uint64_t i = run.begin; i < run.begin + run.next.of(bits); ++i)
      if (seen_[i] != kUntracked && !seen(i, bits)) open &= ~declared[i].required;
  return open;
}

bool ObjectCaller::may_close(Bits bits) const {
  if (count_.of(bits) < min) return false;
  Choices open = alive(bits);
  each_left(bits, [&](const Property& p) { open &= ~p.required; });
  return open.any();
}

ObjectCaller::Tally ObjectCaller::tally(Bits bits) const {
  if (max == kNoLimit && (endless_ || min == 0)) return {};
  Tally out(choices);
  each_left(bits, [&](const Property& p) { change(out, p, 1); });
  return out;
}

void ObjectCaller::change(Tally& tally, const Property& property, int by) {
  for (std::size_t c = 0; c < tally.size(); ++c) {
    if (property.required[c]) tally[c].needed += by;
    if (!property.forbidden[c]) tally[c].possible += by;
  }
}

// Some choice leaves enough properties, and not too many, for the rest of the object.
bool ObjectCaller::can_end(std::uint64_t count, const Choices& alive, const Tally& left) const {
  if (max == kNoLimit && (count >= min || endless_)) return alive.any();
  for (std::size_t c = 0; c < choices; ++c) {
    if (!alive[c]) continue;
    const auto needed = static_cast<std::uint64_t>(left[c].needed);
    const auto possible = static_cast<std::uint64_t>(left[c].possible);
    if ((max == kNoLimit || count + needed <= max) && (count >= min || endless_ || count + possible >= min))
      return true;
  }
  return false;
}

/// `left` is what is left after it.
void ObjectCaller::pair(std::size_t which, Bits after, Choices alive, const Tally& left, std::vector<Edge>& out) const {
  const Property& p = property(which);
  alive &= ~p.forbidden;
  const std::uint64_t count = count_.of(after);
  if (alive.none() || (max != kNoLimit && count >= max)) return;
  after = count_.with(mark(which, after), max != kNoLimit ? count + 1 : std::min(count + 1, min));
  if (can_end(count_.of(after), alive, left)) out.push_back({p.key, pack(kValue, which, after)});
}

void ObjectCaller::pairs(Bits bits, std::vector<Edge>& out) const {
  const Choices open = alive(bits);
  const Tally at_first = tally(bits);
  Tally left = at_first;
  const auto taken = [&](std::size_t which, Bits after, const Choices& choices_left) {
    change(left, property(which), -1);
    pair(which, after, choices_left, left, out);
    change(left, property(which), 1);
  };
  if (any_order)
    for (std::size_t i = 0; i < declared.size(); ++i)
      if (!seen(i, bits)) taken(i, bits, open);
  Bits past = bits;
  Choices choices_left = open;  // after leaving all declared ones behind
  for (const Run& run : runs_) {
    Choices here = open;
    left = at_first;
    for (std::uint32_t i = run.begin + static_cast<std::uint32_t>(run.next.of(bits)); i < run.end && here.any(); ++i) {
      change(left, declared[i], -1);
      pair(i, run.next.with(bits, i + 1 - run.begin), here, left, out);
      here &= ~declared[i].required;
    }
    choices_left &= here;
    past = run.next.with(past, run.end - run.begin);
  }
  if (choices_left.none()) return;
  left = tally(past);
  for (std::size_t which = declared.size(); which < seen_.size(); ++which)
    if (seen_[which] == kUntracked)
      pair(which, past, choices_left, left, out);
    else if (!seen(which, past))
      taken(which, past, choices_left);
}

bool ObjectCaller::only_ends(NodeState state, std::vector<Edge>&) const {
  return (state.a & ((1u << kStepBits) - 1)) == kDone;
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
      out.push_back({property(which).value, pack(kAfterPair, 0, bits)});
      return false;
    }
    default:
      return true;
  }
}

}  // namespace kinglet::grammar
