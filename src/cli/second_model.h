// A model that drafts for another: with the other's vocabulary it needs none of its own.
#pragma once

#include <memory>
#include <string_view>

#include "cli/command.h"
#include "kinglet/model.h"

namespace kinglet {

struct SecondModel {
  std::shared_ptr<const Model> model;  ///< without a tokenizer where `shares_vocabulary`
  bool shares_vocabulary = false;      ///< each token id stands for the same text as in the first model
};

/// Like load_model(); the vocabulary is loaded only where it is not the one of `first`.
Result<SecondModel> load_second_model(std::string_view name, const Arguments& arguments, const Model& first);

}  // namespace kinglet
