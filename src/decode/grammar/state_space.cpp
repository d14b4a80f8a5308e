#include <algorithm>

#include "decode/grammar/runner.h"

namespace kinglet::grammar {
namespace {

// A text nested deeper is not allowed; a state of more stacks or steps is given up as dead.
constexpr std::size_t kMostDepth = 512, kMostStacks = 20'000, kMostTasks = 200'000;

std::uint64_t mix(std::uint64_t h, std::uint64_t x) {
  h = (h ^ x) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

}  // namespace

std::size_t StateSpace::FrameHash::operator()(const Frame& f) const {
  return mix(mix(mix(f.parent | std::uint64_t{f.node} << 32, f.state.a), f.state.b), 7);
}

StateSpace::StateSpace(std::shared_ptr<const Machine> machine) : machine_(std::move(machine)) { clear(); }

void StateSpace::clear() {
  frames_.assign(1, {0, 0, {}});
  depths_.assign(1, 0);
  frame_ids_.clear();
  states_.assign(1, {});
  state_ids_.clear();
  rows_.clear();
  bytes_ = 0;
  states_[0].row = 0;
  rows_.emplace_back().fill(kDead);
  tasks_.push_back({0, machine_->root, {}, true});
  spread();
  start_ = intern();
}

std::uint32_t StateSpace::frame(std::uint32_t parent, NodeId node, NodeState state) {
  const auto [place, fresh] =
      frame_ids_.emplace(Frame{parent, node, state}, static_cast<std::uint32_t>(frames_.size()));
  if (fresh) {
    frames_.push_back(place->first);
    depths_.push_back(static_cast<std::uint16_t>(depths_[parent] + 1));
    bytes_ += 2 * sizeof(Frame) + 40;
  }
  return place->second;
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
  tops_.push_back(frame(parent, node, state));
  if (machine_->nodes[node].terminal->accepts(state)) leave(parent);
}

void StateSpace::spread() {
  seen_.clear();
  std::size_t work = 0;
  while (!tasks_.empty()) {
    const Task task = tasks_.back();
    tasks_.pop_back();
    if (++work > kMostTasks || tops_.size() > kMostStacks) {
      overflow_ = true;
      tasks_.clear();
      break;
    }
    const Node& node = machine_->nodes[task.node];
    if (node.terminal) {
      const NodeState start = node.terminal->start();
      if (seen_.emplace(Frame{task.parent, task.node, start}, true).second) add_terminal(task.parent, task.node, start);
      continue;
    }
    const NodeState state = task.enter ? node.caller->start() : task.state;
    if (!seen_.emplace(Frame{task.parent, task.node, state}, true).second) continue;
    std::vector<Edge> edges = std::move(edges_);
    edges.clear();
    if (node.caller->edges(state, edges)) leave(task.parent);
    if (depths_[task.parent] < kMostDepth) {
      std::vector<Edge> none;
      for (const Edge& edge : edges) {
        // A call at the end of a node needs no way back, so that loops do not grow the stack.
        none.clear();
        const bool last = node.caller->edges(edge.target, none) && none.empty();
        const std::uint32_t parent = last ? task.parent : frame(task.parent, task.node, edge.target);
        tasks_.push_back({parent, edge.callee, {}, true});
      }
    }
    edges_ = std::move(edges);
  }
}

StateId StateSpace::intern() {
  std::sort(tops_.begin(), tops_.end());
  tops_.erase(std::unique(tops_.begin(), tops_.end()), tops_.end());
  const bool complete = complete_, overflow = overflow_;
  complete_ = overflow_ = false;
  if (overflow || (tops_.empty() && !complete)) {
    tops_.clear();
    return kDead;
  }
  std::uint64_t hash = complete ? 1 : 0;
  for (const auto top : tops_) hash = mix(hash, top);
  const auto [from, to] = state_ids_.equal_range(hash);
  for (auto it = from; it != to; ++it) {
    const State& known = states_[static_cast<std::size_t>(it->second)];
    if (known.complete == complete && known.tops == tops_) {
      tops_.clear();
      return it->second;
    }
  }
  const auto id = static_cast<StateId>(states_.size());
  bytes_ += sizeof(State) + 48 + tops_.size() * 4;
  states_.push_back({tops_, -1, complete});
  state_ids_.emplace(hash, id);
  tops_.clear();
  return id;
}

StateId StateSpace::make_step(StateId state, std::uint8_t byte) {
  auto& row = states_[static_cast<std::size_t>(state)].row;
  if (row < 0) {
    row = static_cast<std::int32_t>(rows_.size());
    rows_.emplace_back().fill(-1);
    bytes_ += sizeof(rows_[0]);
  }
  const auto row_id = static_cast<std::size_t>(row);
  const std::vector<std::uint32_t> tops = states_[static_cast<std::size_t>(state)].tops;
  for (const auto top : tops) {
    const Frame f = frames_[top];
    NodeState next;
    if (machine_->nodes[f.node].terminal->step(f.state, byte, next)) add_terminal(f.parent, f.node, next);
  }
  if (!tasks_.empty()) spread();
  const StateId id = intern();
  rows_[row_id][byte] = id;
  return id;
}

std::uint64_t StateSpace::plain_characters(StateId state) const {
  std::uint64_t most = 0;
  for (const auto top : states_[static_cast<std::size_t>(state)].tops) {
    const Frame& f = frames_[top];
    most = std::max(most, machine_->nodes[f.node].terminal->plain_characters(f.state));
  }
  return most;
}

bool StateSpace::in_string(StateId state) const {
  for (const auto top : states_[static_cast<std::size_t>(state)].tops)
    if (const Frame& f = frames_[top]; machine_->nodes[f.node].terminal->in_string(f.state)) return true;
  return false;
}

bool StateSpace::swallows(StateId state) const {
  for (const auto top : states_[static_cast<std::size_t>(state)].tops)
    if (const Frame& f = frames_[top]; machine_->nodes[f.node].terminal->swallows(f.state)) return true;
  return false;
}

StateId StateSpace::canonical(StateId state, std::uint64_t longest) {
  const State& s = states_[static_cast<std::size_t>(state)];
  if (s.tops.size() != 1 || s.complete) return state;
  const Frame f = frames_[s.tops[0]];
  const NodeState alike = machine_->nodes[f.node].terminal->canonical(f.state, longest);
  if (alike == f.state) return state;
  tops_.assign(1, frame(f.parent, f.node, alike));
  return intern();
}

}  // namespace kinglet::grammar
