#include "kinglet/store.h"

namespace kinglet {

namespace {

constexpr std::size_t kMaxName = 96;  // with every suffix below the 255 bytes of file systems

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Names of files that stand beside models in the same folder.
bool is_reserved(std::string_view name) {
  for (const std::string_view suffix : {".sha256", ".lock", ".gguf", ".partial", ".tmp"}) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

}  // namespace

Result<ModelName> ModelName::parse(std::string_view text) {
  std::string name;
  bool good = !text.empty() && text.size() <= kMaxName;
  for (std::size_t i = 0; good && i < text.size(); ++i) {
    const char c = lower(text[i]);
    good = is_letter_or_digit(c) || (i > 0 && (c == '.' || c == '_' || c == '-'));
    name += c;
  }
  if (!good || name.find("..") != std::string::npos || name.back() == '.' || is_reserved(name)) {
    return fail(ErrorCode::kInvalidArgument, "not a model's name: '" + std::string(text.substr(0, 200)) + "'",
                "A name has up to 96 letters, digits, '.', '_' and '-', and begins with a letter or digit.");
  }
  return ModelName(std::move(name));
}

Result<ModelName> ModelName::from(std::string_view text) {
  std::string name;
  for (const char character : text) {
    const char c = lower(character);
    if (is_letter_or_digit(c)) {
      name += c;
    } else if (!name.empty() && is_letter_or_digit(name.back())) {
      name += c == '.' || c == '_' ? c : '-';
    }
    if (name.size() == kMaxName) break;
  }
  for (bool again = true; again;) {
    again = false;
    while (!name.empty() && !is_letter_or_digit(name.back())) name.pop_back();
    if (is_reserved(name)) name.resize(name.rfind('.')), again = true;
  }
  return parse(name);
}

}  // namespace kinglet
