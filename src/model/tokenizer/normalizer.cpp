#include "model/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

template <typename Each>
void for_each_character(std::string_view text, const Each& each) {
  while (!text.empty()) {
    const unicode::Character c = unicode::decode(text);
    each(c.code, text.substr(0, c.size));
    text.remove_prefix(c.size);
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0x80; });
}

std::string normal_form(std::string_view text, int options) {
  if (is_ascii(text)) return std::string(text);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  if (size < 0) return std::string(text);
  std::string out(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);
  return out;
}

// Character by character, as the reference: a final sigma stays an ordinary one. U+0130 alone becomes two characters.
std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t code, std::string_view) {
    if (code < 0x80)
      out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    else if (code == 0x130)
      out += "i\xCC\x87";
    else
      unicode::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  });
  return out;
}

template <typename Drop>
std::string without(std::string_view text, const Drop& drop) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t code, std::string_view bytes) {
    if (!drop(code)) out += bytes;
  });
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  if (from.empty()) return std::string(text);
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

std::string replace_space_runs(std::string_view text, std::string_view to) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find_first_not_of(' ', at);
    if (end == std::string_view::npos) end = text.size();
    if (end - at >= 2)
      out += to;
    else
      out += text.substr(at, end - at);
    at = end;
    if (at < text.size()) out += text[at++];
  }
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  auto is_space = [](char32_t code) { return (unicode::classes(code) & unicode::kSpace) != 0; };
  std::size_t begin = text.size(), end = 0, at = 0;
  for_each_character(text, [&](char32_t code, std::string_view bytes) {
    if (!is_space(code)) {
      begin = std::min(begin, at);
      end = at + bytes.size();
    }
    at += bytes.size();
  });
  if (!left) begin = 0;
  if (!right) end = text.size();
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

std::string bert_clean(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t code, std::string_view bytes) {
    const std::uint8_t classes = unicode::classes(code);
    if (classes & unicode::kBertRemoved) return;
    if (classes & unicode::kBertSpace)
      out += ' ';
    else
      out += bytes;
  });
  return out;
}

bool is_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::string bert_chinese(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t code, std::string_view bytes) {
    const bool apart = is_ideograph(code);
    if (apart) out += ' ';
    out += bytes;
    if (apart) out += ' ';
  });
  return out;
}

std::string apply_step(const Normalizer::Step& step, std::string_view text) {
  using Kind = Normalizer::Kind;
  switch (step.kind) {
    case Kind::kNfc:
      return normal_form(text, UTF8PROC_COMPOSE);
    case Kind::kNfd:
      return normal_form(text, UTF8PROC_DECOMPOSE);
    case Kind::kNfkc:
      return normal_form(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case Kind::kNfkd:
      return normal_form(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
    case Kind::kLowercase:
      return lowercase(text);
    case Kind::kStripAccents:
      return without(text, [](char32_t code) { return (unicode::classes(code) & unicode::kMark) != 0; });
    case Kind::kReplace:
      return replace_all(text, step.from, step.to);
    case Kind::kSpaceRuns:
      return replace_space_runs(text, step.to);
    case Kind::kPrepend:
      return text.empty() ? std::string() : step.to + std::string(text);
    case Kind::kStrip:
      return strip(text, step.left, step.right);
    case Kind::kBertClean:
      return bert_clean(text);
    case Kind::kBertChinese:
      return bert_chinese(text);
    case Kind::kCharacterMap:
      return step.map.apply(text);
  }
  return std::string(text);
}

}  // namespace

Result<CharacterMap> CharacterMap::parse(std::string_view blob) {
  CharacterMap map;
  if (blob.empty()) return map;
  std::uint32_t trie_bytes = 0;
  if (blob.size() >= 4) std::memcpy(&trie_bytes, blob.data(), 4);
  if (blob.size() < 4 || trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4)
    return fail(ErrorCode::kCorrupt, "the precompiled character map of " + std::to_string(blob.size()) +
                                         " bytes does not hold the trie that it announces");
  map.units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map.units_.data(), blob.data() + 4, trie_bytes);
  map.replacements_ = blob.substr(4 + trie_bytes);
  return map;
}

std::string CharacterMap::apply(std::string_view text) const {
  if (units_.empty()) return std::string(text);
  constexpr std::size_t kLongestRule = 256;  // no rule is as long; a cyclic trie must not make this quadratic
  // A unit holds a label in its low byte, the way to its children above, and says whether a value hangs below it.
  auto offset = [](std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::size_t matched = 0;
    std::uint32_t value = 0;
    std::uint32_t at = offset(units_[0]);
    for (std::size_t k = 0; k < std::min(text.size(), kLongestRule); ++k) {
      const auto byte = static_cast<std::uint8_t>(text[k]);
      at ^= byte;
      if (at >= units_.size()) break;
      const std::uint32_t unit = units_[at];
      if ((unit & 0x800000FFu) != byte) break;
      at ^= offset(unit);
      if (!(unit & 0x100)) continue;
      if (at >= units_.size()) break;
      matched = k + 1;
      value = units_[at] & 0x7FFFFFFFu;
    }
    if (matched > 0 && value <= replacements_.size()) {
      out += std::string_view(replacements_).substr(value, std::string_view(replacements_).find('\0', value) - value);
    } else {
      matched = unicode::decode(text).size;
      out += text.substr(0, matched);
    }
    text.remove_prefix(matched);
  }
  return unicode::is_well_formed(out) ? out : unicode::replace_ill_formed(out);
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) out = apply_step(step, out);
  return out;
}

}  // namespace kinglet
