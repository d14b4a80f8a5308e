#include <algorithm>
#include <unordered_map>

#include "decode/grammar/state_space.h"

namespace kinglet::grammar {
namespace {

// A text nested deeper is not allowed; a state of more stacks is given up as dead.
constexpr std::size_t kMostDepth = 512, kMostStacks = 5'000;

/// Both halves of a product, so that every bit of `h` and `x` reaches every bit of what comes out.
std::uint64_t mix(std::uint64_t h, std::uint64_t x) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{h ^ 0x9e3779b97f4a7c15u} * (x ^ 0xd6e8feb86659fd93u);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint32_t hash_of(const Frame& frame) {
  const std::uint64_t caller = mix(0, frame.parent | std::uint64_t{frame.node} << 32);
  return static_cast<std::uint32_t>(mix(mix(caller, frame.state.a), frame.state.b));
}

}  // namespace

std::uint32_t FrameSet::insert(const Frame& frame, bool& fresh) {
  if (2 * (count_ + 1) > slots_.size()) grow();
  const std::uint32_t hash = hash_of(frame);
  for (std::size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    Slot& slot = slots_[at];
    if (slot.stamp != stamp_) {
      slot = {stamp_, static_cast<std::uint32_t>(frames_->size()), hash};
      frames_->push_back(frame);
      ++count_;
      fresh = true;
      return slot.index;
    }
    if (slot.hash == hash && (*frames_)[slot.index] == frame) {
      fresh = false;
      return slot.index;
    }
  }
}

void FrameSet::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.stamp != stamp_) continue;
    std::size_t at = slot.hash & (slots_.size() - 1);
    while (slots_[at].stamp == stamp_) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }
}

StateSpace::StateSpace(std::shared_ptr<const Machine> machine) : machine_(std::move(machine)) { clear(); }

void StateSpace::clear() {
  frames_.assign(1, {0, 0, {}});
  depths_.assign(1, 0);
  frame_set_.clear();
  states_.assign(1, {});
  all_tops_.clear();
  slots_.assign(1024, {});
  rows_.clear();
  filters_.clear();
  bytes_ = row_bytes_ = 0;
  states_[0].row = 0;
  rows_.push_back(std::make_unique<Row>());
  rows_[0]->fill(kDead);
  tasks_.push_back({0, machine_->root, {}, true});
  start_failed_ = false;
  grant();
  step_left_ = work_left_ / kStepShare;
  spread();
  start_failed_ = exhausted_ = exhausted_ || overflow_;
  start_ = intern();
}

bool StateSpace::spend(std::size_t moves) {
  exhausted_ = exhausted_ || moves > work_left_;
  overflow_ = overflow_ || moves > step_left_;
  work_left_ -= std::min(moves, work_left_);
  step_left_ -= std::min(moves, step_left_);
  return !exhausted_ && !overflow_;
}

void StateSpace::forget_rows() {
  rows_.resize(1);
  bytes_ -= row_bytes_;
  row_bytes_ = 0;
  for (std::size_t i = 1; i < states_.size(); ++i) states_[i].row = -1, states_[i].known = 0;
}

std::uint32_t StateSpace::frame_of(const Frame& frame) {
  bool fresh = false;
  const std::uint32_t index = frame_set_.insert(frame, fresh);
  if (fresh) {
    depths_.push_back(static_cast<std::uint16_t>(depths_[frame.parent] + 1));
    bytes_ += sizeof(Frame) + 24;
  }
  return index;
}

bool StateSpace::first_seen(const Frame& frame) {
  bool fresh = false;
  seen_set_.insert(frame, fresh);
  return fresh;
}

void StateSpace::leave(std::uint32_t parent) {
  if (parent == 0) {
    complete_ = true;
    return;
  }
  const Frame& f = frames_[parent];
  tasks_.push_back({f.parent, f.node, f.state, false});
}

void StateSpace::add_terminal(std::uint32_t parent, NodeId node, NodeState state) {
  tops_.push_back(frame_of({parent, node, state}));
  if (machine_->nodes[node].terminal->accepts(state)) leave(parent);
}

void StateSpace::spread() {
  seen_.clear();
  seen_set_.clear();
  while (!tasks_.empty()) {
    const Task task = tasks_.back();
    tasks_.pop_back();
    if (tops_.size() > kMostStacks) overflow_ = true;
    if (!spend(1)) {
      tasks_.clear();
      break;
    }
    const Node& node = machine_->nodes[task.node];
    if (node.terminal) {
      const NodeState start = node.terminal->start();
      if (first_seen({task.parent, task.node, start})) add_terminal(task.parent, task.node, start);
      continue;
    }
    const NodeState state = task.enter ? node.caller->start() : task.state;
    if (!first_seen({task.parent, task.node, state})) continue;
    edges_.clear();
    if (node.caller->edges(state, edges_)) leave(task.parent);
    if (!spend(node.caller->weight() + edges_.size())) continue;
    if (depths_[task.parent] >= kMostDepth) {
      too_deep_ = too_deep_ || !edges_.empty();
    } else {
      for (const Edge& edge : edges_) {
        // A call at the end of a node needs no way back, so that loops do not grow the stack.
        const bool last = node.caller->only_ends(edge.target, after_);
        const std::uint32_t parent = last ? task.parent : frame_of({task.parent, task.node, edge.target});
        tasks_.push_back({parent, edge.callee, {}, true});
      }
    }
  }
}

StateId StateSpace::intern() {
  std::sort(tops_.begin(), tops_.end());
  tops_.erase(std::unique(tops_.begin(), tops_.end()), tops_.end());
  const bool complete = complete_, overflow = overflow_;
  complete_ = overflow_ = false;
  gave_up_ = gave_up_ || overflow;
  if (exhausted_ || overflow || (tops_.empty() && !complete)) {
    tops_.clear();
    return kDead;
  }
  std::uint64_t mixed = complete ? 1 : 0;
  for (const auto top : tops_) mixed = mix(mixed, top);
  const auto hash = static_cast<std::uint32_t>(mixed);
  std::size_t slot = hash & (slots_.size() - 1);
  for (; slots_[slot].id != kDead; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].hash != hash) continue;
    const State& known = states_[static_cast<std::size_t>(slots_[slot].id)];
    if (known.complete != complete) continue;
    const auto tops = std::span(all_tops_).subspan(known.first_top, known.top_count);
    if (!std::equal(tops.begin(), tops.end(), tops_.begin(), tops_.end())) continue;
    tops_.clear();
    return slots_[slot].id;
  }
  const auto id = static_cast<StateId>(states_.size());
  slots_[slot] = {id, hash};
  bytes_ += sizeof(State) + 8 + tops_.size() * 4;
  states_.push_back({.hash = hash,
                     .first_top = static_cast<std::uint32_t>(all_tops_.size()),
                     .top_count = static_cast<std::uint32_t>(tops_.size()),
                     .complete = complete});
  all_tops_.insert(all_tops_.end(), tops_.begin(), tops_.end());
  tops_.clear();
  if (2 * states_.size() > slots_.size()) grow_slots();
  return id;
}

void StateSpace::grow_slots() {
  slots_.assign(slots_.size() * 2, {});
  for (std::size_t id = 1; id < states_.size(); ++id) {
    std::size_t slot = states_[id].hash & (slots_.size() - 1);
    while (slots_[slot].id != kDead) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {static_cast<StateId>(id), states_[id].hash};
  }
}

void StateSpace::keep(std::span<StateId* const> states) {
  const std::vector<Frame> frames = std::move(frames_);
  const std::vector<State> old = std::move(states_);
  const std::vector<std::uint32_t> tops = std::move(all_tops_);
  clear();
  std::unordered_map<std::uint32_t, std::uint32_t> renamed{{0, 0}};
  std::vector<std::uint32_t> path;
  for (StateId* id : states) {
    if (*id == kDead) continue;
    const State& state = old[static_cast<std::size_t>(*id)];
    for (std::uint32_t i = 0; i < state.top_count; ++i) {
      std::uint32_t at = tops[state.first_top + i];
      for (path.clear(); !renamed.contains(at); at = frames[at].parent) path.push_back(at);
      std::uint32_t parent = renamed[at];
      for (; !path.empty(); path.pop_back()) {
        const Frame& frame = frames[path.back()];
        parent = frame_of({parent, frame.node, frame.state});
        renamed[path.back()] = parent;
      }
      tops_.push_back(parent);
    }
    complete_ = state.complete;
    *id = intern();
  }
}

// Where there are many stacks, most bytes are read by none: known before each stack is asked for each byte.
bool StateSpace::may_read(StateId id, std::uint8_t byte) {
  constexpr std::size_t kMany = 4;
  State& state = states_[static_cast<std::size_t>(id)];
  if (state.top_count < kMany) return true;
  if (state.filter < 0) {
    state.filter = static_cast<std::int32_t>(filters_.size());
    spend(state.top_count);
    ByteSet& set = filters_.emplace_back();
    for (const auto top : tops(id)) terminal(top).next_bytes(frames_[top].state, set);
    bytes_ += sizeof(ByteSet);
  }
  return (filters_[static_cast<std::size_t>(state.filter)][byte / 64] >> (byte % 64) & 1) != 0;
}

StateId StateSpace::computed_step(StateId id, std::uint8_t byte) {
  if (!may_read(id, byte)) return kDead;
  from_.assign(tops(id).begin(), tops(id).end());
  if (!spend(1 + from_.size())) return intern();
  for (const auto top : from_) {
    const Frame f = frames_[top];
    NodeState next;
    if (machine_->nodes[f.node].terminal->step(f.state, byte, next)) add_terminal(f.parent, f.node, next);
  }
  if (!tasks_.empty()) spread();
  return intern();
}

StateId StateSpace::make_step(StateId id, std::uint8_t byte) {
  if (exhausted_) return kDead;
  step_left_ = most_work / kStepShare;
  too_deep_ = gave_up_ = false;
  const StateId next = computed_step(id, byte);
  if (exhausted_) return kDead;  // not remembered: another grant may do
  State& state = states_[static_cast<std::size_t>(id)];
  state.too_deep = state.too_deep || too_deep_;
  state.gave_up = state.gave_up || gave_up_;
  if (state.row < 0 && state.known < kFew) {
    state.bytes[state.known] = byte;
    state.next[state.known++] = next;
    return next;
  }
  if (state.row < 0) {
    state.row = static_cast<std::int32_t>(rows_.size());
    rows_.push_back(std::make_unique<Row>());
    rows_.back()->fill(-1);
    for (unsigned i = 0; i < state.known; ++i) (*rows_.back())[state.bytes[i]] = state.next[i];
    bytes_ += sizeof(Row);
    row_bytes_ += sizeof(Row);
  }
  (*rows_[static_cast<std::size_t>(state.row)])[byte] = next;
  return next;
}

bool StateSpace::stuck(StateId id) {
  for (int byte = 0; byte < 256; ++byte)
    if (step(id, static_cast<std::uint8_t>(byte)) != kDead) return false;
  return states_[static_cast<std::size_t>(id)].too_deep;
}

StateId StateSpace::subset(std::span<const std::uint32_t> tops) {
  tops_.assign(tops.begin(), tops.end());
  return intern();
}

StateId StateSpace::canonical(StateId id, std::uint64_t longest) {
  const State& state = states_[static_cast<std::size_t>(id)];
  if (state.top_count != 1 || state.complete) return id;
  const Frame f = frames_[tops(id)[0]];
  const CharTerminal* string = machine_->nodes[f.node].terminal->json_string();
  if (string == nullptr) return id;
  const NodeState alike = string->canonical(f.state, longest);
  if (alike == f.state) return id;
  tops_.assign(1, frame_of({f.parent, f.node, alike}));
  return intern();
}

}  // namespace kinglet::grammar
