// Chat templates: the Jinja program that a model file carries, run without I/O and with limits on steps and output.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

/// A parsed template. Immutable; may be rendered from several threads.
class ChatTemplate {
 public:
  /// Errors (kCorrupt) carry line and column.
  static Result<ChatTemplate> parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// `variables` is a JSON object: messages, tools, add_generation_prompt, bos_token, eos_token, and any other.
  /// kInvalidArgument where the template calls raise_exception; kExhausted where it runs out of steps or output.
  Result<std::string> render(const nlohmann::ordered_json& variables) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

/// The model's template (tokenizer.chat_template), or kNotFound with a way out where the file has none.
Result<ChatTemplate> load_chat_template(const Metadata& metadata);

}  // namespace kinglet
