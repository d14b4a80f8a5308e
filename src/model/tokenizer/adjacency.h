// Where a text may be cut without changing its tokens: between two characters that stand side by side in no token,
// nothing can ever be merged. This turns byte pair encoding of a whole text into that of short pieces.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/tokenizer/unicode.h"

namespace kinglet {

class Adjacency {
 public:
  /// `expected`: about how many texts will be added.
  explicit Adjacency(std::size_t expected) {
    std::size_t bits = 1 << 12;
    while (bits < expected * 16 && bits < std::size_t{1} << 24) bits *= 2;
    seen_.resize(bits / 64);
  }
  void add(std::string_view token) {
    if (token.empty()) return;
    unicode::Character left = unicode::decode(token);
    for (token.remove_prefix(left.size); !token.empty(); token.remove_prefix(left.size)) {
      const unicode::Character right = unicode::decode(token);
      const std::uint64_t bit = bit_of(left.code, right.code);
      if (left.code < 128 && right.code < 128)
        ascii_[bit / 64] |= std::uint64_t{1} << bit % 64;
      else
        seen_[bit / 64] |= std::uint64_t{1} << bit % 64;
      left = right;
    }
  }
  /// False: no token has `left` and then `right` in it. True: one may.
  bool may_join(char32_t left, char32_t right) const {
    const std::uint64_t bit = bit_of(left, right);
    const auto& bits = left < 128 && right < 128 ? ascii_ : seen_;
    return (bits[bit / 64] >> bit % 64 & 1) != 0;
  }

 private:
  std::uint64_t bit_of(char32_t left, char32_t right) const {
    if (left < 128 && right < 128) return left * 128 + right;
    const std::uint64_t key = std::uint64_t{left} << 21 | right;
    return (key * 0x9E3779B97F4A7C15ull >> 32) & (seen_.size() * 64 - 1);
  }
  std::vector<std::uint64_t> ascii_ = std::vector<std::uint64_t>(128 * 128 / 64);
  std::vector<std::uint64_t> seen_;
};

/// Bytes of the longest start of `text` that no cut may divide further; the text must not be empty.
inline std::size_t next_joined(const Adjacency& adjacency, std::string_view text) {
  unicode::Character left = unicode::decode(text);
  std::size_t end = left.size;
  while (end < text.size()) {
    const unicode::Character right = unicode::decode(text.substr(end));
    if (!adjacency.may_join(left.code, right.code)) break;
    end += right.size;
    left = right;
  }
  return end;
}

}  // namespace kinglet
