#include "kinglet/metadata.h"

#include <algorithm>
#include <cmath>

namespace kinglet {
namespace {

std::string quoted(std::string_view key) { return "'" + std::string(key) + "'"; }

tl::unexpected<Error> absent(std::string_view key) {
  return fail(ErrorCode::kCorrupt, "the metadata has no key " + quoted(key),
              "The file is incomplete, or was made for another program: convert the original model again.");
}

tl::unexpected<Error> wrong_kind(std::string_view key, std::string_view expected) {
  return fail(ErrorCode::kCorrupt, "the metadata key " + quoted(key) + " is not " + std::string(expected),
              "The file is damaged, or was made for another program: convert the original model again.");
}

tl::unexpected<Error> out_of_range(std::string_view key, const std::string& value, const std::string& min,
                                   const std::string& max) {
  return fail(ErrorCode::kCorrupt,
              "the metadata key " + quoted(key) + " is " + value + ", expected " + min + " to " + max,
              "The file is damaged, or was made for another program: convert the original model again.");
}

bool is_integer(const MetadataValue& value) {
  return !value.is_array && value.type != MetadataType::kBool && std::holds_alternative<std::int64_t>(value.value);
}

std::string digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

const MetadataValue* Metadata::find(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return &value;
  return nullptr;
}

Result<std::int64_t> Metadata::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const MetadataValue* value = find(key);
  if (!value) return absent(key);
  if (!is_integer(*value)) return wrong_kind(key, "an integer");
  const std::int64_t number = std::get<std::int64_t>(value->value);
  if (number < min || number > max)
    return out_of_range(key, std::to_string(number), std::to_string(min), std::to_string(max));
  return number;
}

Result<std::int64_t> Metadata::integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                          std::int64_t max) const {
  return contains(key) ? integer(key, min, max) : fallback;
}

Result<double> Metadata::number(std::string_view key, double min, double max) const {
  const MetadataValue* value = find(key);
  if (!value) return absent(key);
  double number = 0;
  if (is_integer(*value))
    number = static_cast<double>(std::get<std::int64_t>(value->value));
  else if (!value->is_array && std::holds_alternative<double>(value->value))
    number = std::get<double>(value->value);
  else
    return wrong_kind(key, "a number");
  if (!(number >= min && number <= max)) return out_of_range(key, digits(number), digits(min), digits(max));
  return number;
}

Result<double> Metadata::number_or(std::string_view key, double fallback, double min, double max) const {
  return contains(key) ? number(key, min, max) : fallback;
}

Result<bool> Metadata::flag_or(std::string_view key, bool fallback) const {
  const MetadataValue* value = find(key);
  if (!value) return fallback;
  if (value->is_array || value->type != MetadataType::kBool) return wrong_kind(key, "a yes-or-no value");
  return std::get<std::int64_t>(value->value) != 0;
}

Result<std::string> Metadata::string(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return absent(key);
  if (value->is_array || !std::holds_alternative<std::string>(value->value)) return wrong_kind(key, "a text");
  return std::get<std::string>(value->value);
}

Result<std::string> Metadata::string_or(std::string_view key, std::string_view fallback) const {
  return contains(key) ? string(key) : std::string(fallback);
}

Result<const std::vector<std::int64_t>*> Metadata::integers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return nullptr;
  const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value);
  if (!list) return wrong_kind(key, "a list of integers");
  return list;
}

Result<const std::vector<double>*> Metadata::numbers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return nullptr;
  const auto* list = std::get_if<std::vector<double>>(&value->value);
  if (!list) return wrong_kind(key, "a list of numbers");
  return list;
}

Result<const std::vector<std::string>*> Metadata::strings(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return nullptr;
  const auto* list = std::get_if<std::vector<std::string>>(&value->value);
  if (!list) return wrong_kind(key, "a list of texts");
  return list;
}

Result<std::vector<std::int64_t>> Metadata::integer_per_layer(std::string_view key, std::int64_t fallback,
                                                              std::int64_t count, std::int64_t min,
                                                              std::int64_t max) const {
  const MetadataValue* value = find(key);
  if (!value || !value->is_array) {
    auto one = integer_or(key, fallback, min, max);
    if (!one) return tl::unexpected(std::move(one).error());
    return std::vector<std::int64_t>(static_cast<std::size_t>(count), *one);
  }
  const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value);
  if (!list) return wrong_kind(key, "a list of integers");
  if (static_cast<std::int64_t>(list->size()) != count)
    return fail(ErrorCode::kCorrupt,
                "the metadata key " + quoted(key) + " has " + std::to_string(list->size()) + " values for " +
                    std::to_string(count) + " layers",
                "The file is damaged: convert the original model again.");
  for (std::int64_t number : *list)
    if (number < min || number > max)
      return out_of_range(key, std::to_string(number), std::to_string(min), std::to_string(max));
  return *list;
}

void Metadata::set(std::string_view key, MetadataValue value) {
  for (auto& [name, old] : entries_) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  entries_.emplace_back(std::string(key), std::move(value));
}

void Metadata::append(std::string key, MetadataValue value) { entries_.emplace_back(std::move(key), std::move(value)); }

void Metadata::set_integer(std::string_view key, std::int64_t value, MetadataType type) {
  set(key, MetadataValue{type, false, value});
}
void Metadata::set_number(std::string_view key, double value, MetadataType type) {
  set(key, MetadataValue{type, false, type == MetadataType::kFloat32 ? static_cast<float>(value) : value});
}
void Metadata::set_flag(std::string_view key, bool value) {
  set(key, MetadataValue{MetadataType::kBool, false, static_cast<std::int64_t>(value)});
}
void Metadata::set_string(std::string_view key, std::string_view value) {
  set(key, MetadataValue{MetadataType::kString, false, std::string(value)});
}
void Metadata::set_strings(std::string_view key, std::vector<std::string> values) {
  set(key, MetadataValue{MetadataType::kString, true, std::move(values)});
}
void Metadata::set_integers(std::string_view key, std::vector<std::int64_t> values, MetadataType type) {
  set(key, MetadataValue{type, true, std::move(values)});
}
void Metadata::set_numbers(std::string_view key, std::vector<double> values, MetadataType type) {
  if (type == MetadataType::kFloat32)
    for (double& value : values) value = static_cast<float>(value);
  set(key, MetadataValue{type, true, std::move(values)});
}
void Metadata::erase(std::string_view key) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
}

}  // namespace kinglet
