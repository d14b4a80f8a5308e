// Where each run of one, two or three tokens last stood in a growing text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/tokenizer.h"

namespace kinglet {

class NgramIndex {
 public:
  static constexpr int kLongest = 3;

  struct Match {
    int length = 0;         ///< tokens of the suffix that stood before; 0: none
    std::size_t after = 0;  ///< index of the token that followed it then
  };
  /// The longest suffix of `text` (3, 2, 1 tokens) that also stands earlier, at its most recent place. Reads only the
  /// tokens added since the last call; a text that became shorter is read anew.
  Match find(std::span<const TokenId> text);

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t after = 0;  ///< 0: empty (an n-gram ends at 1 or later)
  };
  static std::uint64_t key(const TokenId* tokens, int length);
  Slot& slot(std::uint64_t key);
  void grow();

  std::vector<Slot> slots_;  ///< open addressing; a power of two, at most half full
  std::size_t used_ = 0, read_ = 0;
};

}  // namespace kinglet
