// --schema, --grammar, --regex, --choice: what answers are held to.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "cli/command.h"
#include "kinglet/generate.h"
#include "kinglet/grammar.h"

namespace kinglet {

std::span<const OptionSpec> constraint_option_specs();

/// A compiled grammar, if the command line asks for one, and what binds it to a model.
class Constraint {
 public:
  /// Compiles; kInvalidArgument where more than one is given.
  static Result<Constraint> from(const Arguments& arguments);
  /// Makes the vocabulary's trie; kInvalidArgument where no text of its tokens meets the grammar. Keeps the tokenizer.
  Result<void> bind(const Tokenizer& tokenizer);

  bool given() const { return grammar_.has_value(); }
  const std::optional<Grammar>& grammar() const { return grammar_; }
  const std::shared_ptr<const GrammarVocabulary>& vocabulary() const { return vocabulary_; }
  /// Lets a request say only what the grammar allows; the times of its masks are collected in what it gives back.
  std::shared_ptr<const GrammarStatistics> constrain(GenerateRequest& request) const;
  /// {"compile_ms", "mask_us_p50", "mask_us_p99", "forced_tokens"}
  nlohmann::ordered_json report(const GrammarStatistics* statistics, const Generation& result) const;

 private:
  std::optional<Grammar> grammar_;
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  const Tokenizer* tokenizer_ = nullptr;
  double compile_ms_ = 0;
};

}  // namespace kinglet
