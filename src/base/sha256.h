// SHA-256, the only name by which a file's content is known (libcrypto does the arithmetic).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// A SHA-256 value. It can only be made by hashing or by parsing 64 hexadecimal digits, so its text is safe in a path.
class Digest {
 public:
  /// kInvalidArgument unless `hex` is exactly 64 hexadecimal digits.
  static Result<Digest> parse(std::string_view hex);
  explicit Digest(const std::array<std::uint8_t, 32>& bytes) : bytes_(bytes) {}
  std::string hex() const;  ///< 64 lower-case digits
  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }
  bool operator==(const Digest&) const = default;

 private:
  std::array<std::uint8_t, 32> bytes_;
};

/// Hashes a stream piece by piece. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  /// Ends the stream; the object is then as new.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::string_view text);

/// Hashes a regular file. `progress` (may be null) is told the bytes done after each piece and answers whether to go on
/// (otherwise kCancelled).
Result<Digest> sha256_file(const std::string& path, const std::function<bool(std::uint64_t)>& progress = {});

}  // namespace kinglet
