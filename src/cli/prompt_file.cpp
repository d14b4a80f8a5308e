#include "cli/prompt_file.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/try.h"
#include "cli/text_lines.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostPromptBytes = std::uint64_t{1} << 30;

}  // namespace

Result<std::vector<PromptFor>> read_prompt_file(const std::string& path, std::string_view system) {
  KINGLET_TRY(const std::string text, read_file(path, kMostPromptBytes));
  std::vector<PromptFor> prompts;
  std::size_t number = 0;
  for (const std::string_view line : text_lines(text)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = path + ":" + std::to_string(number);
    KINGLET_TRY(const nlohmann::ordered_json value, parse_json(line, place));
    if (value.is_object() && value.contains("prompt") && value["prompt"].is_string())
      prompts.emplace_back([prompt = value["prompt"].get<std::string>(), system = std::string(system)](
                               const PromptMaker& maker) { return maker.from_text(prompt, system); });
    else if (value.is_object() && value.contains("messages") && value["messages"].is_array())
      prompts.emplace_back(
          [messages = value["messages"]](const PromptMaker& maker) { return maker.from_messages(messages); });
    else
      return fail(ErrorCode::kInvalidArgument, "expected {\"prompt\": \"…\"} or {\"messages\": […]}", "", place);
  }
  return prompts;
}

}  // namespace kinglet
