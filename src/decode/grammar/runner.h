// Runs a Machine over bytes: sets of stacks, hash-consed, with their transitions remembered; and the masks of a
// vocabulary on these states.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "decode/grammar/machine.h"
#include "decode/grammar/token_trie.h"
#include "kinglet/grammar.h"

namespace kinglet::grammar {

using StateId = std::int32_t;
inline constexpr StateId kDead = 0;

/// Sets of stacks. State 0 is the empty set.
class StateSpace {
 public:
  explicit StateSpace(std::shared_ptr<const Machine> machine);
  StateId start() const { return start_; }
  StateId step(StateId state, std::uint8_t byte) {
    const auto known = states_[static_cast<std::size_t>(state)].row;
    if (known >= 0)
      if (const StateId next = rows_[static_cast<std::size_t>(known)][byte]; next >= 0) return next;
    return make_step(state, byte);
  }
  bool complete(StateId state) const { return states_[static_cast<std::size_t>(state)].complete; }
  /// Most characters of plain JSON string text that some stack of the state may still take; 0: none can.
  std::uint64_t plain_characters(StateId state) const;
  bool single(StateId state) const { return states_[static_cast<std::size_t>(state)].tops.size() == 1; }
  bool in_string(StateId state) const;
  bool swallows(StateId state) const;
  /// A state with the same allowed tokens.
  StateId canonical(StateId state, std::uint64_t longest);
  std::size_t bytes() const { return bytes_; }
  void clear();

 private:
  struct Frame {
    std::uint32_t parent;
    NodeId node;
    NodeState state;
    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    std::size_t operator()(const Frame& f) const;
  };
  struct State {
    std::vector<std::uint32_t> tops;  ///< frames of terminals, ascending
    std::int32_t row = -1;
    bool complete = false;
  };
  /// A node still to be entered, or a frame's state still to be spread.
  struct Task {
    std::uint32_t parent;
    NodeId node;
    NodeState state;
    bool enter;
  };

  std::uint32_t frame(std::uint32_t parent, NodeId node, NodeState state);
  void leave(std::uint32_t parent);
  void add_terminal(std::uint32_t parent, NodeId node, NodeState state);
  void spread();
  StateId intern();
  StateId make_step(StateId state, std::uint8_t byte);

  std::shared_ptr<const Machine> machine_;
  std::vector<Frame> frames_;  ///< frame 0: the bottom
  std::vector<std::uint16_t> depths_;
  std::unordered_map<Frame, std::uint32_t, FrameHash> frame_ids_;
  std::vector<State> states_;
  std::unordered_multimap<std::uint64_t, StateId> state_ids_;
  std::deque<std::array<StateId, 256>> rows_;
  std::size_t bytes_ = 0;
  StateId start_ = kDead;

  // The closure that is being made.
  std::vector<Task> tasks_;
  std::vector<std::uint32_t> tops_;
  std::vector<Frame> seen_list_;
  std::unordered_map<Frame, bool, FrameHash> seen_;
  std::vector<Edge> edges_;
  bool complete_ = false, overflow_ = false;
};

class Runner {
 public:
  Runner(std::shared_ptr<const Machine> machine, std::shared_ptr<const GrammarVocabulary> vocabulary,
         std::size_t cache_bytes);

  std::span<const std::uint64_t> mask();
  std::span<const TokenId> allowed();
  std::size_t allowed_count();
  bool accept(TokenId token);
  void rollback(std::size_t count);
  bool is_complete() const { return !ended_ && space_.complete(state_); }
  bool ended() const { return ended_; }
  std::string forced_text(std::size_t limit);
  void reset();
  bool matches(std::string_view text);
  std::size_t cache_bytes() const { return space_.bytes() + mask_bytes_; }

 private:
  static constexpr std::size_t kUncounted = ~std::size_t{0};
  struct Mask {
    std::vector<std::uint64_t> bits;
    std::vector<TokenId> ids;
    bool has_ids = false;
    std::size_t count = kUncounted;
  };
  Mask& current();
  void fill(StateId state, std::vector<std::uint64_t>& bits);
  void walk(const Trie& trie, StateId state, std::vector<std::uint64_t>& bits);
  bool mostly_plain(StateId state);
  void walk_string(StateId state, std::vector<std::uint64_t>& bits);
  void shrink();

  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  const TokenTrie& trie_;
  StateSpace space_;
  StateId state_;
  bool ended_ = false;
  std::vector<TokenId> taken_;
  std::vector<StateId> history_;  ///< states before each of taken_
  std::unordered_map<StateId, Mask> masks_;
  Mask end_mask_;
  std::size_t mask_bytes_ = 0, most_bytes_;
};

}  // namespace kinglet::grammar
