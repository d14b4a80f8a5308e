// The key-value part of a model file. Nothing in it is trusted: each read names the type and the range it accepts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

/// GGUF's type numbers.
enum class MetadataType : std::uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

/// A value with the type it was stored in, so that it can be written back unchanged. Integers and bools are kept as
/// int64 (a uint64 above 2^63-1 is refused when read), floats as double.
struct MetadataValue {
  MetadataType type = MetadataType::kString;  ///< of the value, or of the elements of an array
  bool is_array = false;
  std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>,
               std::vector<std::string>>
      value;
  bool operator==(const MetadataValue&) const = default;
};

/// Keys in file order. Typed getters answer kCorrupt with the key's name when it is absent, of another kind or out of
/// range; the `_or` forms give the fallback when it is absent (and still an error when it is wrong).
class Metadata {
 public:
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  const MetadataValue* find(std::string_view key) const;
  const std::vector<std::pair<std::string, MetadataValue>>& entries() const { return entries_; }

  Result<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  Result<std::int64_t> integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                  std::int64_t max) const;
  Result<double> number(std::string_view key, double min, double max) const;  ///< a float or an integer; never NaN
  Result<double> number_or(std::string_view key, double fallback, double min, double max) const;
  Result<bool> flag_or(std::string_view key, bool fallback) const;
  Result<std::string> string(std::string_view key) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;
  /// Null where the key is absent. Errors where it is an array of another kind.
  Result<const std::vector<std::int64_t>*> integers(std::string_view key) const;  ///< integers or bools
  Result<const std::vector<double>*> numbers(std::string_view key) const;
  Result<const std::vector<std::string>*> strings(std::string_view key) const;
  /// A scalar or one value per layer (GGUF allows both for head counts): `count` values.
  Result<std::vector<std::int64_t>> integer_per_layer(std::string_view key, std::int64_t fallback, std::int64_t count,
                                                      std::int64_t min, std::int64_t max) const;

  /// Adds an entry whose key is known to be new (readers check for duplicates themselves).
  void append(std::string key, MetadataValue value);
  /// Adds or replaces.
  void set(std::string_view key, MetadataValue value);
  void set_integer(std::string_view key, std::int64_t value, MetadataType type = MetadataType::kUint32);
  /// Rounded to f32 where that is the type, so that a written file reads back equal.
  void set_number(std::string_view key, double value, MetadataType type = MetadataType::kFloat32);
  void set_flag(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::vector<std::string> values);
  void set_integers(std::string_view key, std::vector<std::int64_t> values, MetadataType type = MetadataType::kInt32);
  void set_numbers(std::string_view key, std::vector<double> values, MetadataType type = MetadataType::kFloat32);
  void erase(std::string_view key);

 private:
  std::vector<std::pair<std::string, MetadataValue>> entries_;
};

}  // namespace kinglet
