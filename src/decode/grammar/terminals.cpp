#include <algorithm>

#include "decode/grammar/char_state.h"
#include "decode/grammar/machine.h"

namespace kinglet::grammar {
namespace {

bool is_space(std::uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }
constexpr char kGap = '\x01';

int hex_value(std::uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

int short_escape(std::uint8_t byte) {
  switch (byte) {
    case '"':
    case '\\':
    case '/':
      return byte;
    case 'b':
      return 8;
    case 't':
      return 9;
    case 'n':
      return 10;
    case 'f':
      return 12;
    case 'r':
      return 13;
    default:
      return -1;
  }
}

bool has_short_escape(std::uint32_t code) { return (code >= 8 && code <= 10) || code == 12 || code == 13; }

}  // namespace

bool TextTerminal::step(NodeState state, std::uint8_t byte, NodeState& next) const {
  std::uint64_t at = state.a;
  while (at < text_.size() && text_[at] == kGap) {
    if (is_space(byte)) {
      next = {at, 0};
      return true;
    }
    ++at;
  }
  if (at >= text_.size() || static_cast<std::uint8_t>(text_[at]) != byte) return false;
  next = {at + 1, 0};
  return true;
}

bool TextTerminal::accepts(NodeState state) const {
  for (std::uint64_t at = state.a; at < text_.size(); ++at)
    if (text_[at] != kGap) return false;
  return true;
}

void TextTerminal::next_bytes(NodeState state, ByteSet& set) const {
  std::uint64_t at = state.a;
  const auto add = [&](std::uint8_t byte) { set[byte / 64] |= std::uint64_t{1} << (byte % 64); };
  for (; at < text_.size() && text_[at] == kGap; ++at)
    for (const char c : {' ', '\n', '\t', '\r'}) add(static_cast<std::uint8_t>(c));
  if (at < text_.size()) add(static_cast<std::uint8_t>(text_[at]));
}

CharTerminal::CharTerminal(DfaPtr dfa, Mode mode, std::uint64_t min, std::uint64_t max)
    : dfa_(std::move(dfa)), mode_(mode), min_(min), max_(max), states_(1) {
  if (dfa_) {
    empty_ = dfa_->empty();
    states_ = std::max<std::uint64_t>(1, dfa_->size());
    const bool bounded = min_ > 0 || max_ != kNoLimit;
    if (!empty_ && bounded) {
      // Breadth first backwards for the shortest way; the longest one by as many rounds as there are states.
      const std::size_t count = dfa_->size(), classes = dfa_->classes();
      shortest_.assign(count, kNoLimit);
      longest_.assign(count, 0);
      for (std::size_t s = 0; s < count; ++s)
        if (dfa_->label[s] >= 0) shortest_[s] = 0;
      std::vector<int> degree(count, 0);
      std::vector<std::vector<std::int32_t>> back(count);
      for (std::size_t s = 0; s < count; ++s)
        for (std::size_t c = 0; c < classes; ++c)
          if (const auto t = dfa_->next[s * classes + c]; t >= 0) {
            back[static_cast<std::size_t>(t)].push_back(static_cast<std::int32_t>(s));
            ++degree[s];
          }
      std::vector<std::int32_t> queue;
      for (std::size_t s = 0; s < count; ++s)
        if (shortest_[s] == 0) queue.push_back(static_cast<std::int32_t>(s));
      for (std::size_t i = 0; i < queue.size(); ++i)
        for (const auto p : back[static_cast<std::size_t>(queue[i])])
          if (auto& d = shortest_[static_cast<std::size_t>(p)]; d == kNoLimit)
            d = shortest_[static_cast<std::size_t>(queue[i])] + 1, queue.push_back(p);
      // What is never freed of successors lies on or before a cycle, and cycles reach an accepting state.
      queue.clear();
      for (std::size_t s = 0; s < count; ++s)
        if (degree[s] == 0) queue.push_back(static_cast<std::int32_t>(s));
      for (std::size_t i = 0; i < queue.size(); ++i)
        for (const auto p : back[static_cast<std::size_t>(queue[i])]) {
          auto& l = longest_[static_cast<std::size_t>(p)];
          l = std::max(l, longest_[static_cast<std::size_t>(queue[i])] + 1);
          if (--degree[static_cast<std::size_t>(p)] == 0) queue.push_back(p);
        }
      for (std::size_t s = 0; s < count; ++s)
        if (degree[s] > 0) longest_[s] = kNoLimit;
      for (std::size_t s = 0; s < count; ++s) {
        farthest_ = std::max(farthest_, shortest_[s]);
        endless_ = endless_ && longest_[s] == kNoLimit;
      }
      empty_ = !fits(dfa_->start, 0);
    }
  }
  if (min_ > max_) empty_ = true;
  if (dfa_ && !empty_ && mode_ != Mode::kCanonical) find_shortcuts();
}

NodeState CharTerminal::start() const {
  if (mode_ != Mode::kPlain) return kBeforeQuote;
  return {dfa_ ? static_cast<std::uint64_t>(dfa_->start) : 0, 0};
}

bool CharTerminal::fits(std::int32_t d, std::uint64_t count) const {
  if (d < 0 || count > max_) return false;
  if (shortest_.empty()) return true;
  const auto s = static_cast<std::size_t>(d);
  if (max_ != kNoLimit && shortest_[s] > max_ - count) return false;
  return longest_[s] == kNoLimit || count + longest_[s] >= min_;
}

bool CharTerminal::read(Parts parts, std::uint32_t code, NodeState& next) const {
  const std::int32_t d = dfa_ ? dfa_->step(parts.d, code) : 0;
  const bool counted = min_ > 0 || max_ != kNoLimit;
  std::uint64_t count = counted ? parts.count + 1 : 0;
  if (max_ == kNoLimit && count > min_) count = min_;
  if (!fits(d, count)) return false;
  next = {static_cast<std::uint64_t>(d) + count * states_, 0};
  return true;
}

bool CharTerminal::any_fits(Parts parts, std::uint32_t lo, std::uint32_t hi) const {
  NodeState unused;
  if (!dfa_) return lo <= hi && read(parts, lo, unused);
  while (lo <= hi) {
    if (read(parts, lo, unused)) return true;
    const std::size_t c = dfa_->class_of(lo);
    if (c + 1 >= dfa_->cuts.size()) return false;
    lo = dfa_->cuts[c + 1];
  }
  return false;
}

bool CharTerminal::step_utf8(NodeState state, std::uint8_t byte, NodeState& next) const {
  const Parts parts = unpack(state);
  std::uint64_t left = 0;
  std::uint32_t value = 0, least = 0;
  if (state.b == kWhole) {
    if (byte < 0x80) return read(parts, byte, next);
    if (byte >= 0xC2 && byte <= 0xDF)
      left = 1, value = byte & 0x1Fu;
    else if (byte >= 0xE0 && byte <= 0xEF)
      left = 2, value = byte & 0x0Fu, least = 0x800;
    else if (byte >= 0xF0 && byte <= 0xF4)
      left = 3, value = byte & 0x07u, least = 0x10000;
    else
      return false;
  } else {
    if ((byte & 0xC0) != 0x80) return false;
    left = (state.b >> 3 & 3) - 1;
    const auto before = static_cast<std::uint32_t>(state.b >> 5 & 0x1FFFFF);
    // A value tells how long the character is: what is too small for its length was refused before.
    if (left == 2) least = 0x10000;
    if (left == 1) least = before < 0x10 ? 0x800 : 0x10000;
    value = before << 6 | (byte & 0x3Fu);
  }
  const auto shift = static_cast<unsigned>(6 * left);
  const std::uint32_t lo = std::max(value << shift, least);
  const std::uint32_t hi = std::min((value << shift) | ((1u << shift) - 1), kLastCodePoint);
  if (left == 0) {
    if (lo > hi || (lo >= 0xD800 && lo <= 0xDFFF)) return false;
    return read(parts, lo, next);
  }
  if (!any_fits(parts, lo, std::min(hi, 0xD7FFu)) && !any_fits(parts, std::max(lo, 0xE000u), hi)) return false;
  next = {state.a, pack(kUtf8, left, value)};
  return true;
}

bool CharTerminal::step_escape(NodeState state, std::uint8_t byte, NodeState& next) const {
  const Parts parts = unpack(state);
  const bool canonical = mode_ == Mode::kCanonical;
  const auto kind = static_cast<Partial>(state.b & 7);
  const std::uint64_t count = state.b >> 3 & 3, value = state.b >> 5 & 0xFFF, high = state.b >> 32;
  if (kind == kBackslash) {
    if (byte == 'u') {
      next = {state.a, pack(kHex, 0, 0)};
      if (!canonical) return any_fits(parts, 0, 0xD7FF) || any_fits(parts, 0xE000, kLastCodePoint);
      for (std::uint32_t code = 0; code < 0x20; ++code)
        if (!has_short_escape(code) && any_fits(parts, code, code)) return true;
      return false;
    }
    const int code = short_escape(byte);
    return code >= 0 && !(canonical && byte == '/') && read(parts, static_cast<std::uint32_t>(code), next);
  }
  if (kind == kPairSlash) {
    next = {state.a, pack(kPairU, 0, 0, high)};
    return byte == '\\';
  }
  if (kind == kPairU) {
    next = {state.a, pack(kPairHex, 0, 0, high)};
    return byte == 'u';
  }
  const int digit = hex_value(byte);
  if (digit < 0 || (canonical && byte >= 'A' && byte <= 'F')) return false;
  const auto unit = static_cast<std::uint32_t>(value << 4) | static_cast<std::uint32_t>(digit);
  const auto shift = static_cast<unsigned>(4 * (3 - count));
  const std::uint32_t lo = unit << shift, hi = lo | ((1u << shift) - 1);
  if (kind == kPairHex) {
    const std::uint32_t from = std::max(lo, 0xDC00u), to = std::min(hi, 0xDFFFu);
    if (from > to) return false;
    const auto base = static_cast<std::uint32_t>(0x10000 + (high << 10));
    if (count == 3) return read(parts, base + from - 0xDC00, next);
    next = {state.a, pack(kPairHex, count + 1, unit, high)};
    return any_fits(parts, base + from - 0xDC00, base + to - 0xDC00);
  }
  if (canonical) {
    if (count == 3) return unit < 0x20 && !has_short_escape(unit) && read(parts, unit, next);
    next = {state.a, pack(kHex, count + 1, unit)};
    for (std::uint32_t code = lo; code <= std::min(hi, 0x1Fu); ++code)
      if (!has_short_escape(code) && any_fits(parts, code, code)) return true;
    return false;
  }
  const std::uint32_t from = std::max(lo, 0xD800u), to = std::min(hi, 0xDBFFu);  // high surrogates
  const bool pair =
      from <= to && any_fits(parts, 0x10000 + ((from - 0xD800) << 10), 0x10000 + ((to - 0xD800) << 10) + 0x3FF);
  if (count == 3) {
    if (unit >= 0xD800 && unit <= 0xDBFF) {
      next = {state.a, pack(kPairSlash, 0, 0, unit - 0xD800)};
      return pair;
    }
    return (unit < 0xD800 || unit > 0xDFFF) && read(parts, unit, next);
  }
  next = {state.a, pack(kHex, count + 1, unit)};
  return pair || any_fits(parts, lo, std::min(hi, 0xD7FFu)) || any_fits(parts, std::max(lo, 0xE000u), hi);
}

bool CharTerminal::step(NodeState state, std::uint8_t byte, NodeState& next) const {
  if (mode_ == Mode::kPlain) return step_utf8(state, byte, next);
  if (state == kAfterQuote) return false;
  if (state == kBeforeQuote) {
    next = {dfa_ ? static_cast<std::uint64_t>(dfa_->start) : 0, 0};
    return byte == '"';
  }
  const std::uint64_t kind = state.b & 7;
  if (kind == kUtf8) return step_utf8(state, byte, next);
  if (kind != kWhole) return step_escape(state, byte, next);
  if (byte == '"') {
    const Parts parts = unpack(state);
    next = kAfterQuote;
    return parts.count >= min_ && (!dfa_ || dfa_->label[static_cast<std::size_t>(parts.d)] >= 0);
  }
  if (byte < 0x20) return false;
  if (byte != '\\') return step_utf8(state, byte, next);
  next = {state.a, pack(kBackslash, 0, 0)};
  const Parts parts = unpack(state);
  if (mode_ == Mode::kJson) return any_fits(parts, 0, kLastCodePoint);
  return any_fits(parts, 0, 0x1F) || any_fits(parts, '"', '"') || any_fits(parts, '\\', '\\');
}

bool CharTerminal::accepts(NodeState state) const {
  if (mode_ != Mode::kPlain) return state == kAfterQuote;
  const Parts parts = unpack(state);
  return state.b == kWhole && parts.count >= min_ && (!dfa_ || dfa_->label[static_cast<std::size_t>(parts.d)] >= 0);
}

void CharTerminal::next_bytes(NodeState state, ByteSet& set) const {
  if (mode_ != Mode::kPlain && state == kAfterQuote) return;
  if (mode_ != Mode::kPlain && state == kBeforeQuote)
    set[0] |= std::uint64_t{1} << '"';
  else
    set.fill(~std::uint64_t{0});
}

}  // namespace kinglet::grammar
