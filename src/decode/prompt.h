// From what a user says to the tokens that a model is given.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "kinglet/chat.h"
#include "kinglet/model.h"

namespace kinglet {

/// Makes prompts for one model: through its chat template, or as they are.
class PromptMaker {
 public:
  /// `raw`, and a model without a template, give plain prompts. kCorrupt where the template cannot be read.
  static Result<PromptMaker> make(std::shared_ptr<const Model> model, bool raw);

  bool has_template() const { return template_.has_value(); }
  /// One user message, after `system` where that is not empty.
  Result<std::vector<TokenId>> from_text(std::string_view text, std::string_view system = {}) const;
  /// Messages as the OpenAI interface has them; kInvalidArgument where the model has no template.
  Result<std::vector<TokenId>> from_messages(const nlohmann::ordered_json& messages) const;

 private:
  std::vector<TokenId> encode(std::string_view text) const;
  std::shared_ptr<const Model> model_;
  std::optional<ChatTemplate> template_;
};

/// kUnsupported for a model that only embeds.
Result<void> check_generates(const Model& model);

}  // namespace kinglet
