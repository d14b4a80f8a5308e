// What happens to a text before it is cut into tokens: Unicode normal forms, BERT's cleaning, replacements, and the
// compiled character maps of SentencePiece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// SentencePiece's normalisation rules: a double-array trie over UTF-8 and the replacements it leads to.
class CharacterMap {
 public:
  /// The blob: u32 size of the trie in bytes, its units, then replacements that end in NUL. kCorrupt otherwise.
  static Result<CharacterMap> parse(std::string_view blob);
  /// Each longest match replaced; text must be well-formed.
  std::string apply(std::string_view text) const;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

/// Steps run in the order they were added. All take and give well-formed UTF-8.
class Normalizer {
 public:
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripAccents,  ///< drops nonspacing marks
    kReplace,       ///< every `from` by `to`
    kSpaceRuns,     ///< every run of two or more spaces by `to`
    kPrepend,       ///< `to` before a text that is not empty
    kStrip,         ///< white space at the left and right ends
    kBertClean,     ///< control characters away, white space to ' '
    kBertChinese,   ///< spaces around ideographs
    kCharacterMap,
  };
  struct Step {
    Kind kind = Kind::kNfc;
    std::string from, to;
    bool left = true, right = true;
    CharacterMap map;
  };
  void add(Step step) { steps_.push_back(std::move(step)); }
  void add(Kind kind) { steps_.push_back({.kind = kind, .from = {}, .to = {}, .map = {}}); }
  bool is_identity() const { return steps_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace kinglet
