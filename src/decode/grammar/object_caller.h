// JSON objects: which property may come next.
#pragma once

#include <bitset>
#include <cstdint>
#include <vector>

#include "decode/grammar/machine.h"

namespace kinglet::grammar {

struct Punctuation {
  NodeId open_array, close_array, open_object, close_object, comma;
};

/// Declared properties stand in runs (the properties of one schema each); a run keeps its order, and several runs may
/// mix. Further ones come after all declared ones. With `any_order` nothing has a place. Which properties must and must
/// not be there is said by choices, one of which holds in the end; a state remembers what they speak of.
class ObjectCaller final : public Caller {
 public:
  static constexpr std::size_t kMostChoices = 256;
  using Choices = std::bitset<kMostChoices>;
  struct Property {
    NodeId key, value;
    Choices required = {}, forbidden = {};  ///< the choices that say so
    std::uint32_t run = 0;                  ///< of a declared one; runs stand one after another in `declared`
    bool once = false;  ///< of a further one: one name, which comes once; otherwise a language of names
  };
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};
  std::vector<Property> declared, further;
  std::size_t choices = 1;
  std::uint64_t min = 0, max = kNoLimit;
  bool any_order = false;
  Punctuation marks{};

  /// Lays out the state, once all is set; joins runs where it would not hold them all. False: it cannot be held.
  bool settle();
  /// Some object is allowed, as far as counts go. After settle().
  bool possible() const;
  bool edges(NodeState state, std::vector<Edge>& out) const override;
  bool only_ends(NodeState state, std::vector<Edge>& scratch) const override;
  std::size_t weight() const override { return weight_; }

 private:
  __extension__ using Bits = unsigned __int128;
  /// A part of what is remembered.
  struct Field {
    unsigned shift = 0, width = 0;
    std::uint64_t of(Bits bits) const {
      return static_cast<std::uint64_t>(bits >> shift) & ((std::uint64_t{1} << width) - 1);
    }
    Bits with(Bits bits, std::uint64_t value) const {
      const Bits mask = ((Bits{1} << width) - 1) << shift;
      return (bits & ~mask) | (Bits{value} << shift & mask);
    }
  };
  struct Run {
    std::uint32_t begin, end;
    Field next;  ///< how many of its properties are past
  };
  static constexpr unsigned kStepBits = 3, kWhichBits = 13, kRoom = 128 - kStepBits - kWhichBits;
  static NodeState pack(std::uint64_t step, std::uint64_t which, Bits bits);

  const Property& property(std::size_t which) const {
    return which < declared.size() ? declared[which] : further[which - declared.size()];
  }
  bool seen(std::size_t which, Bits bits) const { return (bits >> seen_[which] & 1) != 0; }
  Bits mark(std::size_t which, Bits bits) const {
    return seen_[which] == kUntracked ? bits : bits | Bits{1} << seen_[which];
  }
  /// Calls visit(property) for those that may still come and come at most once.
  template <typename Visit>
  void each_left(Bits bits, Visit visit) const;
  Choices alive(Bits bits) const;
  bool may_close(Bits bits) const;
  /// Of one choice: how many of the properties that may still come it needs, and how many it does not forbid.
  struct Left {
    std::int64_t needed = 0, possible = 0;
  };
  using Tally = std::vector<Left>;  ///< by choice; empty where counts do not matter
  Tally tally(Bits bits) const;
  static void change(Tally& tally, const Property& property, int by);
  bool can_end(std::uint64_t count, const Choices& alive, const Tally& left) const;
  void pair(std::size_t which, Bits after, Choices alive, const Tally& left, std::vector<Edge>& out) const;
  void pairs(Bits bits, std::vector<Edge>& out) const;

  std::vector<Run> runs_;
  Field count_;
  std::vector<std::uint32_t> seen_;  ///< of each property: the bit that tells that it came, or kUntracked
  static constexpr std::uint32_t kUntracked = ~0u;
  Choices all_;
  bool endless_ = false;
  std::size_t weight_ = 0;
};

}  // namespace kinglet::grammar
