// A template and its messages from one input: the template up to the first NUL byte, then JSON (a conversation of its
// own where that is none). Rendering must end, within its limits, in a text or an error with a place.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json.h"
#include "kinglet/chat.h"

namespace {

nlohmann::ordered_json variables_of(std::string_view text) {
  auto parsed = kinglet::parse_json(text, "input");
  if (parsed && parsed->is_object()) return *std::move(parsed);
  return {{"messages", {{{"role", "user"}, {"content", text}}, {{"role", "assistant"}, {"content", "x"}}}},
          {"tools", {{{"name", "f"}, {"parameters", {{"a", {1, 2.5, nullptr, true}}}}}}},
          {"add_generation_prompt", true},
          {"bos_token", "<s>"}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const auto parsed = kinglet::ChatTemplate::parse(input.substr(0, end));
  if (!parsed) {
    if (parsed.error().message.empty()) std::abort();
    return 0;
  }
  const auto variables = variables_of(end == std::string_view::npos ? std::string_view() : input.substr(end + 1));
  const auto first = parsed->render(variables);
  if (!first && first.error().message.empty()) std::abort();
  if (first && first->size() > (std::size_t{64} << 20)) std::abort();
  // The same again gives the same, unless the template asks for the time.
  if (size < 512 && input.find("strftime_now") == std::string_view::npos) {
    const auto second = parsed->render(variables);
    if (first.has_value() != second.has_value() || (first && *first != *second)) std::abort();
  }
  return 0;
}
