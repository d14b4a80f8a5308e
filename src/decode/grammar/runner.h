// One text on its way through a Machine, and the masks of a vocabulary.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "decode/grammar/state_space.h"
#include "decode/grammar/token_trie.h"
#include "kinglet/grammar.h"

namespace kinglet::grammar {

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
  bool exhausted() const { return exhausted_; }
  std::size_t cache_bytes() const { return space_.bytes() + mask_bytes_; }

 private:
  static constexpr std::size_t kUncounted = ~std::size_t{0};
  struct Mask {
    std::vector<std::uint64_t> bits;
    std::vector<TokenId> ids;
    bool has_ids = false;
    bool exhausted = false;  ///< too much work: allows nothing
    std::size_t count = kUncounted;
  };
  using Bits = std::vector<std::uint64_t>;
  Mask& current();
  Mask& mask_of(StateId state);
  void fill(StateId state, Bits& bits);
  using StringKey = std::pair<NodeId, std::pair<std::uint64_t, std::uint64_t>>;
  const Bits& string_mask(const StringKey& key, const CharTerminal::Place& place, std::uint64_t plain,
                          const Trie& others);
  bool fill_strings(Bits& bits);
  static void walk_place(const Trie& trie, const CharTerminal::Place& place, Bits& bits);
  void recheck_uncommon(StateId state, Bits& bits);
  template <typename Step>
  static void walk(const Trie& trie, Bits& bits, Step step);
  void walk_states(const Trie& trie, StateId state, Bits& bits);
  void shrink(StateId* also = nullptr);

  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  const TokenTrie& trie_;
  StateSpace space_;
  StateId state_;
  bool ended_ = false;
  bool gave_up_ = false;    ///< the walk for a mask: a step with the first byte of tokens
  bool exhausted_ = false;  ///< by the last mask, token or text
  std::vector<TokenId> taken_;
  std::vector<StateId> history_;  ///< states before each of taken_
  static constexpr StateId kForgotten = -1;
  std::unordered_map<StateId, Mask> masks_;
  std::map<StringKey, Bits> string_masks_;  ///< the tokens that stay within a string
  std::vector<std::uint32_t> strings_, others_;
  Mask end_mask_;
  std::size_t mask_bytes_ = 0, most_bytes_;
};

}  // namespace kinglet::grammar
