#include "model/chat/budget.h"

namespace kinglet::chat {

thread_local Budget* Budget::current_ = nullptr;

void refuse(std::string message) { throw TemplateError(ErrorCode::kInvalidArgument, std::move(message)); }

void Budget::step(std::int64_t count) {
  steps_ -= count;
  if (steps_ < 0)
    throw TemplateError(ErrorCode::kExhausted, "the chat template takes more than " + std::to_string(kSteps) + " steps",
                        "Shorten the conversation, or use --raw to do without the template.");
}

void Budget::take(std::size_t bytes) {
  step(1 + static_cast<std::int64_t>(bytes / 64));
  if (memory_ + bytes > kMemoryBytes)
    throw TemplateError(ErrorCode::kExhausted,
                        "the chat template needs more than " + std::to_string(kMemoryBytes >> 20) + " MiB of memory",
                        "Shorten the conversation, or use --raw to do without the template.");
  memory_ += bytes;
}

void charge(std::size_t bytes) {
  if (Budget* budget = Budget::current()) budget->step(1 + static_cast<std::int64_t>(bytes / 64));
}

}  // namespace kinglet::chat
