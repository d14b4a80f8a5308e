// A conversation with a model that remembers what it has read.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "decode/prompt.h"
#include "kinglet/generate.h"

namespace kinglet {

class Conversation {
 public:
  /// The engine must outlive it. kUnsupported where the model has no chat template.
  static Result<Conversation> start(Engine& engine, std::shared_ptr<const Model> model, GenerateOptions options,
                                    std::string system);

  /// Asks and gives the answer; the text comes to `on_text` as it is made. An answer that was stopped stays as far as
  /// it came. After an error the question is forgotten.
  Result<Generation> ask(std::string_view question, std::function<bool(std::string_view)> on_text);
  /// Forgets all but the system message.
  void reset();
  void set_system(std::string system);
  const nlohmann::ordered_json& messages() const { return messages_; }
  /// Changes each request before it runs (a grammar, say).
  std::function<void(GenerateRequest&)> prepare;
  /// Answers in the model's place (a team); what was read before is then its own affair.
  std::function<Result<Generation>(const GenerateRequest&, const nlohmann::ordered_json& messages)> answer;

 private:
  Conversation(Engine& engine, PromptMaker prompts, GenerateOptions options)
      : engine_(&engine), prompts_(std::move(prompts)), options_(std::move(options)) {}
  Result<void> reuse(std::span<const TokenId> prompt);
  Result<Generation> run(GenerateRequest request);

  Engine* engine_;
  PromptMaker prompts_;
  GenerateOptions options_;
  std::string system_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenId> held_;  ///< what sequence_ has read
};

}  // namespace kinglet
