// Runs a Machine over bytes: sets of stacks, hash-consed, with their transitions remembered.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decode/grammar/machine.h"

namespace kinglet::grammar {

using StateId = std::int32_t;
inline constexpr StateId kDead = 0;

/// Top of a stack: a terminal in a state, above the frame of who called it.
struct Frame {
  std::uint32_t parent;
  NodeId node;
  NodeState state;
  bool operator==(const Frame&) const = default;
};

/// A set of frames in an open table of their indices and hashes; clearing costs nothing.
class FrameSet {
 public:
  explicit FrameSet(std::vector<Frame>& frames) : frames_(&frames) { slots_.resize(64); }
  /// The index of this frame; it is appended where it is new.
  std::uint32_t insert(const Frame& frame, bool& fresh);
  void clear() { ++stamp_, count_ = 0; }
  std::size_t bytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Slot {
    std::uint32_t stamp = 0, index = 0, hash = 0;
  };
  void grow();
  std::vector<Frame>* frames_;
  std::vector<Slot> slots_;
  std::uint32_t stamp_ = 1;
  std::size_t count_ = 0;
};

/// Sets of stacks. State 0 is the empty set.
class StateSpace {
 public:
  /// Moves of automata that one grant() allows: a mask, or a token that is taken. Some 30 ms.
  static constexpr std::size_t kMostWork = 1'000'000;
  static constexpr std::size_t kStepShare = 16;     ///< of a grant, for one step
  static inline std::size_t most_work = kMostWork;  ///< less only where many grammars are tried, as in fuzzing
  explicit StateSpace(std::shared_ptr<const Machine> machine);
  StateSpace(const StateSpace&) = delete;
  StateSpace& operator=(const StateSpace&) = delete;
  StateId start() const { return start_; }
  /// From here on, steps that are not remembered may make most_work moves together. Once these are spent, they give
  /// kDead, which then means nothing, and exhausted() is true until the next grant.
  void grant() { work_left_ = most_work, exhausted_ = start_failed_; }
  bool exhausted() const { return exhausted_; }
  /// Some step from here came to too many stacks, or to more than its share of a grant, and is dead for good.
  bool gave_up(StateId id) const { return states_[static_cast<std::size_t>(id)].gave_up; }
  /// No byte may follow, but only since the text would be nested too deeply.
  bool stuck(StateId state);
  StateId step(StateId id, std::uint8_t byte) {
    const State& state = states_[static_cast<std::size_t>(id)];
    if (state.row >= 0) {
      if (const StateId next = (*rows_[static_cast<std::size_t>(state.row)])[byte]; next >= 0) return next;
    } else {
      for (unsigned i = 0; i < state.known; ++i)
        if (state.bytes[i] == byte) return state.next[i];
    }
    return make_step(id, byte);
  }
  bool complete(StateId state) const { return states_[static_cast<std::size_t>(state)].complete; }
  /// Indices of the frames of its terminals. Valid until the next state is made.
  std::span<const std::uint32_t> tops(StateId id) const {
    const State& state = states_[static_cast<std::size_t>(id)];
    return std::span(all_tops_).subspan(state.first_top, state.top_count);
  }
  const Frame& frame(std::uint32_t index) const { return frames_[index]; }
  const Terminal& terminal(std::uint32_t top) const { return *machine_->nodes[frames_[top].node].terminal; }
  /// The state of some stacks of another, not complete.
  StateId subset(std::span<const std::uint32_t> tops);
  /// A state with the same allowed tokens, if none has more than `longest` characters.
  StateId canonical(StateId state, std::uint64_t longest);
  std::size_t bytes() const { return bytes_; }
  void clear();
  /// Forgets transitions only: states stay what they are.
  void forget_rows();
  /// Forgets all states but these, and renames them.
  void keep(std::span<StateId* const> states);

 private:
  static constexpr unsigned kFew = 6;  ///< transitions that are kept without a row
  struct State {
    std::uint32_t hash = 0;
    std::uint32_t first_top = 0, top_count = 0;  ///< ascending, in all_tops_
    std::int32_t row = -1, filter = -1;
    bool complete = false;
    bool too_deep = false, gave_up = false;  ///< some step from here was
    std::uint8_t known = 0;
    std::uint8_t bytes[kFew] = {};
    StateId next[kFew] = {};
  };
  using Row = std::array<StateId, 256>;
  /// A node still to be entered, or a frame's state still to be spread.
  struct Task {
    std::uint32_t parent;
    NodeId node;
    NodeState state;
    bool enter;
  };

  std::uint32_t frame_of(const Frame& frame);
  void leave(std::uint32_t parent);
  void add_terminal(std::uint32_t parent, NodeId node, NodeState state);
  bool first_seen(const Frame& frame);
  void spread();
  StateId intern();
  void grow_slots();
  StateId make_step(StateId state, std::uint8_t byte);
  StateId computed_step(StateId state, std::uint8_t byte);
  bool may_read(StateId state, std::uint8_t byte);
  bool spend(std::size_t moves);

  std::shared_ptr<const Machine> machine_;
  std::vector<Frame> frames_;  ///< frame 0: the bottom
  std::vector<std::uint16_t> depths_;
  FrameSet frame_set_{frames_};
  std::vector<State> states_;
  std::vector<std::uint32_t> all_tops_;
  struct Slot {
    StateId id = kDead;  ///< kDead: free
    std::uint32_t hash = 0;
  };
  std::vector<Slot> slots_;  ///< open table of states
  std::vector<std::unique_ptr<Row>> rows_;
  std::vector<ByteSet> filters_;  ///< of states with many stacks: the bytes that some stack may read
  std::size_t bytes_ = 0, row_bytes_ = 0;
  StateId start_ = kDead;
  std::size_t work_left_ = 0, step_left_ = 0;
  bool exhausted_ = false, start_failed_ = false;
  bool too_deep_ = false, gave_up_ = false;  ///< of the step that is being made

  // The closure that is being made.
  std::vector<Task> tasks_;
  std::vector<std::uint32_t> tops_, from_;
  std::vector<Frame> seen_;
  FrameSet seen_set_{seen_};
  std::vector<Edge> edges_, after_;
  bool complete_ = false, overflow_ = false;
};

}  // namespace kinglet::grammar
