#include "cli/conversation.h"

#include <algorithm>
#include <utility>

#include "base/try.h"

namespace kinglet {

Result<Conversation> Conversation::start(Engine& engine, std::shared_ptr<const Model> model, GenerateOptions options,
                                         std::string system) {
  const std::string path = model->path();
  KINGLET_TRY(PromptMaker prompts, PromptMaker::make(std::move(model), false));
  if (!prompts.has_template())
    return fail(ErrorCode::kUnsupported,
                "the model has no chat template (it may be a base model, which continues text)",
                "Use `kinglet run MODEL --raw`, or take an instruct model.", path);
  Conversation conversation(engine, std::move(prompts), std::move(options));
  conversation.set_system(std::move(system));
  return conversation;
}

void Conversation::reset() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

void Conversation::set_system(std::string system) {
  system_ = std::move(system);
  reset();
}

// Keeps what the sequence has in common with the new prompt; at least one token is left to be read.
Result<void> Conversation::reuse(std::span<const TokenId> prompt) {
  if (sequence_ != nullptr) {
    held_.resize(std::min(held_.size(), static_cast<std::size_t>(sequence_->length())));
    const auto differ = std::mismatch(held_.begin(), held_.end(), prompt.begin(), prompt.end());
    std::size_t common = static_cast<std::size_t>(differ.first - held_.begin());
    common = std::min(common, prompt.size() - 1);
    held_.resize(common);
    // A sliding layer may have forgotten what a shorter text needs: then all is read again.
    if (common == 0 || !sequence_->truncate(static_cast<std::int64_t>(common))) sequence_.reset();
  }
  if (sequence_ != nullptr) return {};
  held_.clear();
  KINGLET_TRY(sequence_, engine_->new_sequence());
  return {};
}

Result<Generation> Conversation::ask(std::string_view question, std::function<bool(std::string_view)> on_text) {
  messages_.push_back({{"role", "user"}, {"content", std::string(question)}});
  const auto forget = [&](Error error) -> Result<Generation> {
    messages_.erase(messages_.size() - 1);
    return tl::unexpected<Error>(std::move(error));
  };
  auto prompt = prompts_.from_messages(messages_);
  if (!prompt) return forget(std::move(prompt).error());
  if (prompt->empty()) return forget(Error{ErrorCode::kInvalidArgument, "the prompt is empty", "", ""});
  GenerateRequest request;
  request.prompt = *prompt;
  request.options = options_;
  request.on_text = std::move(on_text);
  if (prepare) prepare(request);
  auto result = answer ? answer(request, messages_) : run(std::move(request));
  if (!result || result->error) {
    sequence_.reset();
    return forget(result ? *result->error : std::move(result).error());
  }
  messages_.push_back({{"role", "assistant"}, {"content", result->text}});
  return result;
}

Result<Generation> Conversation::run(GenerateRequest request) {
  KINGLET_CHECK(reuse(request.prompt));
  request.sequence = sequence_.get();
  std::vector<TokenId> prompt = request.prompt;
  KINGLET_TRY(auto results, generate(*engine_, {std::move(request)}));
  held_ = std::move(prompt);
  held_.insert(held_.end(), results[0].token_ids.begin(), results[0].token_ids.end());
  return std::move(results[0]);
}

}  // namespace kinglet
