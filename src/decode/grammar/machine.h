// The pushdown automaton that every kind of grammar compiles to: nodes that read bytes (terminals) and nodes that call
// others (rules, objects, arrays). States of nodes are plain values, so that nothing is built before it is reached.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decode/grammar/dfa.h"

namespace kinglet::grammar {

using NodeId = std::uint32_t;

struct NodeState {
  std::uint64_t a = 0, b = 0;
  bool operator==(const NodeState&) const = default;
};

using ByteSet = std::array<std::uint64_t, 4>;
class CharTerminal;
struct Trie;
struct TrieNode;

/// Reads bytes. step() is false where the byte is not allowed; every state that it gives can still be completed.
class Terminal {
 public:
  virtual ~Terminal() = default;
  virtual NodeState start() const { return {}; }
  virtual bool step(NodeState state, std::uint8_t byte, NodeState& next) const = 0;
  virtual bool accepts(NodeState state) const = 0;
  /// Adds the bytes that step() may take here; others it refuses.
  virtual void next_bytes(NodeState, ByteSet& set) const { set.fill(~std::uint64_t{0}); }
  /// Itself where it is a JSON string of many possible texts, which has short ways to a mask.
  virtual const CharTerminal* json_string() const { return nullptr; }
  /// Itself where it is text that stands as it is, which has them too where nothing follows it.
  virtual const CharTerminal* bare_text() const { return nullptr; }
};

struct Edge {
  NodeId callee;
  NodeState target;
};

/// Calls other nodes.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual NodeState start() const { return {}; }
  /// Appends what may be called in this state; true where the node may end here.
  virtual bool edges(NodeState state, std::vector<Edge>& out) const = 0;
  /// Whether the node can only end here.
  virtual bool only_ends(NodeState state, std::vector<Edge>& scratch) const {
    scratch.clear();
    return edges(state, scratch) && scratch.empty();
  }
  /// Moves that a call of edges() counts as, besides one for each edge.
  virtual std::size_t weight() const { return 0; }
};

struct Node {
  std::unique_ptr<const Terminal> terminal;  ///< one of the two
  std::unique_ptr<const Caller> caller;
};

class Machine {
 public:
  std::vector<Node> nodes;
  NodeId root = 0;

  NodeId add(std::unique_ptr<const Terminal> terminal) {
    nodes.push_back({std::move(terminal), nullptr});
    return static_cast<NodeId>(nodes.size() - 1);
  }
  NodeId add(std::unique_ptr<const Caller> caller) {
    nodes.push_back({nullptr, std::move(caller)});
    return static_cast<NodeId>(nodes.size() - 1);
  }
};

/// Fixed text; '\x01' stands for white space that may be left away.
class TextTerminal final : public Terminal {
 public:
  explicit TextTerminal(std::string text) : text_(std::move(text)) {}
  bool step(NodeState state, std::uint8_t byte, NodeState& next) const override;
  bool accepts(NodeState state) const override;
  void next_bytes(NodeState state, ByteSet& set) const override;

 private:
  std::string text_;
};

/// Texts of an automaton over code points, read as UTF-8 or as the inside of a JSON string.
class CharTerminal final : public Terminal {
 public:
  enum class Mode {
    kPlain,      ///< as they are
    kJson,       ///< quoted, with every escape of JSON
    kCanonical,  ///< quoted, escapes only where JSON needs them
  };
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};
  /// Null: any characters. Lengths are in code points.
  CharTerminal(DfaPtr dfa, Mode mode, std::uint64_t min = 0, std::uint64_t max = kNoLimit);
  NodeState start() const override;
  bool step(NodeState state, std::uint8_t byte, NodeState& next) const override;
  bool accepts(NodeState state) const override;
  void next_bytes(NodeState state, ByteSet& set) const override;
  const CharTerminal* json_string() const override { return mode_ == Mode::kJson ? this : nullptr; }
  const CharTerminal* bare_text() const override { return mode_ == Mode::kPlain ? this : nullptr; }

  // Of JSON strings and bare texts. Plain characters are those that stand in a JSON string as they are.
  /// Between two characters of the text.
  bool inside(NodeState state) const;
  /// How many characters, whatever they are, may still follow within the string, up to `longest`; 0: not such a state.
  std::uint64_t any_characters(NodeState state, std::uint64_t longest) const;
  /// Whether `longest` plain characters may still follow whatever they are, but for those of kRareGroup.
  bool takes_common(NodeState state, std::uint64_t longest) const;
  /// How many plain characters may still follow where any may; 0: not such a state.
  std::uint64_t plain_characters(NodeState state) const;
  /// A state with the same allowed tokens, if none has more than `longest` characters.
  NodeState canonical(NodeState state, std::uint64_t longest) const;
  struct Place {
    const CharTerminal* string;
    NodeState state;
  };
  static constexpr std::size_t kMostPlaces = 16;
  /// Sets the bits of the tokens of `plain` (all of them plain) that may follow in one of at most kMostPlaces places.
  static void allow_plain(std::span<const Place> places, const Trie& plain, std::span<std::uint64_t> bits);

  bool empty() const { return empty_; }

 private:
  struct Parts {
    std::int32_t d;
    std::uint64_t count;
  };
  Parts unpack(NodeState state) const { return {static_cast<std::int32_t>(state.a % states_), state.a / states_}; }
  void find_shortcuts();
  std::vector<std::uint16_t> steps_to_refusal(std::span<const std::size_t> classes, bool or_to_open) const;
  bool swallows(Parts parts, const TrieNode& node) const;
  bool has_room(Parts parts, std::uint64_t characters) const;
  bool read_plain(Parts& at, std::uint32_t code, std::size_t& wide) const;
  bool read(Parts parts, std::uint32_t code, NodeState& next) const;
  bool fits(std::int32_t d, std::uint64_t count) const;
  bool any_fits(Parts parts, std::uint32_t lo, std::uint32_t hi) const;
  bool step_utf8(NodeState state, std::uint8_t byte, NodeState& next) const;
  bool step_escape(NodeState state, std::uint8_t byte, NodeState& next) const;

  DfaPtr dfa_;
  Mode mode_;
  std::uint64_t min_, max_, states_;
  std::vector<std::uint64_t> shortest_, longest_;  ///< characters to an accepting state, where lengths are bounded
  /// What is known of a state. Distances are the fewest characters that may not follow in a row: of any, of plain ones,
  /// of those but for kRareGroup, of those of ASCII, of those of usual_; kFar: more than a token has.
  struct Shortcuts {
    std::uint32_t loops = 0;  ///< groups of characters that lead back to the state itself
    std::uint32_t some = 0;   ///< groups of which some character may follow
    bool ends = false;        ///< bounded lengths: the text may end here and wherever any characters lead
    std::uint16_t any = kFar, plain = kFar, common = kFar, ascii = kFar, usual = kFar;
  };
  static constexpr std::uint16_t kFar = 0xFFFF;
  std::vector<Shortcuts> shortcuts_;
  std::uint32_t always_ = 0;    ///< groups of which no state refuses a character
  std::uint32_t usual_ = 0;     ///< groups of which most states refuse none
  std::uint64_t farthest_ = 0;  ///< the largest of shortest_
  bool endless_ = true;         ///< every text can go on for ever
  bool empty_ = false;
};

/// Exact decimal numbers: mantissa / 10^scale.
using Int128 = __int128;

struct NumberSet {
  static constexpr int kScale = 12;
  bool has_lo = false, has_hi = false, lo_open = false, hi_open = false;
  Int128 lo = 0, hi = 0;  ///< in units of 10^-kScale
  Int128 step = 0;        ///< a multiple of this; 0: anything
  enum class Fraction { kAny, kZero, kNonZero } fraction = Fraction::kAny;
  bool plain = false;  ///< written without a point and without an exponent

  bool empty() const;
  /// Whether some number of the set lies in [from, to), or is `from` itself.
  bool meets(Int128 from, Int128 to) const;
  bool contains(Int128 value) const;
  NumberSet mirrored() const;
};
inline constexpr Int128 kUnit = 1'000'000'000'000;  ///< 10^kScale

class NumberTerminal final : public Terminal {
 public:
  explicit NumberTerminal(const NumberSet& set);
  bool step(NodeState state, std::uint8_t byte, NodeState& next) const override;
  bool accepts(NodeState state) const override;
  void next_bytes(NodeState state, ByteSet& set) const override;

 private:
  struct Parts;
  struct Side {
    NumberSet set;
    Int128 cap = 0;      ///< magnitudes above are alike, in units
    bool free = false;   ///< any exponent
    bool large = false;  ///< exponents from 16 on
    bool possible = true;
  };
  bool feasible(const Parts& parts) const;
  void fold(Parts& parts) const;
  bool step_exponent(Parts parts, std::uint8_t byte, NodeState& next) const;
  const Side& side(const Parts& parts) const;
  Side sides_[2];
};

}  // namespace kinglet::grammar
