#include "base/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

// Counts the characters that the parser takes, so that errors of ours have an offset too.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** seen) : at_(at), seen_(seen) {}
  const char& operator*() const { return *at_; }
  CountingIterator& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** seen_;
};

// Builds the DOM with an explicit stack; members are appended without a search (ordered_json's own insertion is
// linear).
class Builder {
 public:
  Builder(Json& root, const JsonOptions& options) : root_(root), options_(options) {}

  bool null() { return add(Json(nullptr)) != nullptr; }
  bool boolean(bool value) { return add(Json(value)) != nullptr; }
  bool number_integer(std::int64_t value) { return add(Json(value)) != nullptr; }
  bool number_unsigned(std::uint64_t value) { return add(Json(value)) != nullptr; }
  bool number_float(double value, const std::string&) { return add(Json(value)) != nullptr; }
  bool string(std::string& value) { return add(Json(std::move(value))) != nullptr; }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool key(std::string& name) {
    key_ = std::move(name);
    return true;
  }
  bool end_object() {
    Json* object = stack_.back();
    stack_.pop_back();
    return merge_duplicates(object->get_ref<Json::object_t&>());
  }
  bool end_array() {
    stack_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& error) {
    if (message_.empty()) {
      position_ = position;
      std::string_view text = error.what();
      const auto colon = text.rfind("; last read");  // the parser's sentence without its own tags and file position
      text = text.substr(0, colon);
      const auto bracket = text.find("syntax error");
      message_ = "not valid JSON: " + std::string(bracket == text.npos ? "a malformed value" : text.substr(bracket));
      if (error.id == 406) message_ = "not valid JSON: a number out of range (" + token.substr(0, 40) + ")";
    }
    return false;
  }

  const std::string& message() const { return message_; }
  ErrorCode code() const { return code_; }
  std::size_t position() const { return position_; }

 private:
  Json* add(Json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& top = *stack_.back();
    if (top.is_array()) {
      auto& items = top.get_ref<Json::array_t&>();
      items.push_back(std::move(value));
      return &items.back();
    }
    auto& members = static_cast<std::vector<Json::object_t::value_type, Json::object_t::allocator_type>&>(
        top.get_ref<Json::object_t&>());
    members.emplace_back(std::move(key_), std::move(value));
    return &members.back().second;
  }

  bool open(Json&& value) {
    if (static_cast<int>(stack_.size()) >= options_.max_depth) {
      code_ = ErrorCode::kExhausted;
      message_ = "JSON is nested deeper than " + std::to_string(options_.max_depth) + " levels";
      return false;
    }
    stack_.push_back(add(std::move(value)));
    return true;
  }

  bool merge_duplicates(Json::object_t& object) {
    if (object.size() < 2) return true;
    std::vector<std::pair<std::string_view, std::size_t>> keys;
    keys.reserve(object.size());
    for (std::size_t i = 0; i < object.size(); ++i) keys.emplace_back((object.begin() + i)->first, i);
    std::sort(keys.begin(), keys.end());
    std::vector<std::size_t> dropped;
    for (std::size_t i = 0; i + 1 < keys.size(); ++i) {
      if (keys[i].first != keys[i + 1].first) continue;
      if (options_.refuse_duplicates) {
        message_ = "the key \"" + std::string(keys[i].first.substr(0, 80)) + "\" stands twice in one JSON object";
        return false;
      }
      dropped.push_back(keys[i].second);
    }
    if (dropped.empty()) return true;
    std::vector<bool> drop(object.size(), false);
    for (std::size_t i : dropped) drop[i] = true;
    Json::object_t kept;
    auto& members = static_cast<std::vector<Json::object_t::value_type, Json::object_t::allocator_type>&>(kept);
    for (std::size_t i = 0; i < object.size(); ++i)
      if (!drop[i]) members.emplace_back((object.begin() + i)->first, std::move((object.begin() + i)->second));
    object = std::move(kept);
    return true;
  }

  Json& root_;
  const JsonOptions& options_;
  std::vector<Json*> stack_;
  std::string key_;
  std::string message_;
  ErrorCode code_ = ErrorCode::kCorrupt;
  std::size_t position_ = 0;
};

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view place, const JsonOptions& options) {
  if (text.size() > options.max_bytes)
    return fail(
        ErrorCode::kExhausted,
        "JSON of " + std::to_string(text.size()) + " bytes, at most " + std::to_string(options.max_bytes) + " are read",
        "Check that this is the right file.", std::string(place));
  Json root;
  const char* seen = text.data();
  Builder builder(root, options);
  bool ok = false;
  std::string thrown;
  try {
    const char* const begin = text.data();
    ok = Json::sax_parse(CountingIterator(begin, &seen), CountingIterator(begin + text.size(), &seen), &builder);
  } catch (const std::exception& error) {
    thrown = error.what();
  }
  if (ok) return root;
  const std::size_t offset = builder.position() != 0 ? builder.position() - 1 : seen - text.data();
  std::string message = builder.message();
  if (message.empty()) message = "JSON could not be read" + (thrown.empty() ? "" : ": " + thrown);
  return fail(builder.code(), std::move(message), "The file is damaged or is not JSON: fetch it again.",
              std::string(place) + ", byte " + std::to_string(std::min(offset, text.size())));
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kinglet
