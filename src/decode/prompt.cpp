#include "decode/prompt.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/try.h"

namespace kinglet {

Result<PromptMaker> PromptMaker::make(std::shared_ptr<const Model> model, bool raw) {
  PromptMaker maker;
  maker.model_ = std::move(model);
  if (raw || !maker.model_->metadata().contains("tokenizer.chat_template")) return maker;
  auto loaded = load_chat_template(maker.model_->metadata());
  if (!loaded && loaded.error().code == ErrorCode::kNotFound) return maker;
  if (!loaded)
    return tl::unexpected<Error>(std::move(loaded).error().within("reading the chat template (--raw goes without)"));
  maker.template_ = std::move(*loaded);
  return maker;
}

/// Special tokens are read as tokens: templates are made of them, and plain prompts may write a conversation out. BOS
/// comes first where the model adds it and the text does not have it already; a text to go on from has no EOS.
std::vector<TokenId> PromptMaker::encode(std::string_view text) const {
  const Tokenizer& tokenizer = model_->tokenizer();
  std::vector<TokenId> ids = tokenizer.encode(text, {.parse_special = true});
  if (tokenizer.adds_bos && tokenizer.bos >= 0 && (ids.empty() || ids[0] != tokenizer.bos))
    ids.insert(ids.begin(), tokenizer.bos);
  return ids;
}

Result<std::vector<TokenId>> PromptMaker::from_text(std::string_view text, std::string_view system) const {
  if (!template_) return encode(system.empty() ? std::string(text) : std::string(system) + "\n\n" + std::string(text));
  auto messages = nlohmann::ordered_json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", std::string(system)}});
  messages.push_back({{"role", "user"}, {"content", std::string(text)}});
  return from_messages(messages);
}

Result<std::vector<TokenId>> PromptMaker::from_messages(const nlohmann::ordered_json& messages) const {
  if (!template_)
    return fail(ErrorCode::kInvalidArgument, "messages need a chat template, and there is none here",
                "Give a \"prompt\" instead, leave --raw away, or take an instruct model.");
  const Tokenizer& tokenizer = model_->tokenizer();
  const auto name = [&](TokenId id) { return id < 0 ? std::string() : std::string(tokenizer.text(id)); };
  const nlohmann::ordered_json variables = {{"messages", messages},
                                            {"add_generation_prompt", true},
                                            {"bos_token", name(tokenizer.bos)},
                                            {"eos_token", name(tokenizer.eos)}};
  KINGLET_TRY(const std::string text, template_->render(variables));
  return encode(text);
}

Result<void> check_generates(const Model& model) {
  if (model.config().causal) return {};
  return fail(ErrorCode::kUnsupported, "'" + model.config().architecture + "' models give embeddings and no text",
              "Use `kinglet embed`.", model.path());
}

}  // namespace kinglet
