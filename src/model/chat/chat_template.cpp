#include "kinglet/chat.h"

#include <new>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "base/try.h"
#include "model/chat/interpreter.h"
#include "model/chat/parser.h"

namespace kinglet {

namespace {

// Templates are written for callers who always pass these, null where there are none ("tools is not none").
chat::Value with_absent(const chat::Value& given) {
  auto all = std::make_shared<chat::Dict>();
  for (const char* name : {"tools", "documents"}) all->set(chat::Value(name), chat::None{});
  for (const auto& [name, value] : given.dict()->entries) all->set(name, value);
  return chat::Value(std::shared_ptr<const chat::Dict>(std::move(all)));
}

}  // namespace

struct ChatTemplate::Program {
  chat::Body body;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (source.size() > limits::kTemplateBytes)
    return fail(ErrorCode::kExhausted, "the chat template has " + std::to_string(source.size()) + " bytes, at most " +
                                           std::to_string(limits::kTemplateBytes) + " are read");
  try {
    auto program = std::make_unique<Program>();
    program->body = chat::parse_template(source);
    return ChatTemplate(std::move(program));
  } catch (const chat::TemplateError& error) {
    return tl::unexpected<Error>(error.error);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kExhausted, "not enough memory to read the chat template");
  }
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& variables) const {
  if (!variables.is_object())
    return fail(ErrorCode::kInvalidArgument, "the variables of a chat template are a JSON object");
  try {
    chat::Budget budget;
    const chat::Value values = with_absent(chat::from_json(variables));
    chat::Interpreter interpreter(*values.dict());
    return interpreter.run(program_->body);
  } catch (const chat::TemplateError& error) {
    return tl::unexpected<Error>(error.error);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kExhausted, "not enough memory to render the chat template");
  }
}

Result<ChatTemplate> load_chat_template(const Metadata& metadata) {
  KINGLET_TRY(const std::string source, metadata.string_or("tokenizer.chat_template", ""));
  if (source.empty())
    return fail(ErrorCode::kNotFound, "the model has no chat template (it may be a base model, which continues text)",
                "Use --raw to give it the text as it is.");
  return ChatTemplate::parse(source);
}

}  // namespace kinglet
