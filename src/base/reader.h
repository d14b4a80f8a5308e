// A cursor over bytes that someone else wrote. It never reads past the end; numbers come out as Untrusted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/checked.h"
#include "kinglet/result.h"

namespace kinglet {

/// Little-endian. All errors are kCorrupt and carry "FILE, byte OFFSET" as their place. Keeps views, not copies: the
/// bytes must outlive it and what it returns.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }

  /// A number of `T`'s width.
  template <typename T>
    requires std::is_arithmetic_v<T>
  Result<Untrusted<T>> number(std::string_view what) {
    static_assert(std::endian::native == std::endian::little, "reading would need to swap bytes");
    if (remaining() < sizeof(T)) return ended(what, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return Untrusted<T>(value);
  }

  /// The next `size` bytes.
  Result<std::span<const std::byte>> bytes(std::uint64_t size, std::string_view what) {
    if (remaining() < size) return ended(what, size);
    auto part = bytes_.subspan(position_, size);
    position_ += size;
    return part;
  }

  /// A string with a 64-bit length before it, of at most `max_bytes`.
  Result<std::string_view> string(std::uint64_t max_bytes, std::string_view what) {
    const std::uint64_t start = position_;
    auto length = number<std::uint64_t>(what);
    if (!length) return tl::unexpected(std::move(length).error());
    auto size = length->between(0, max_bytes, std::string(what) + "'s length");
    if (!size) return tl::unexpected(located(std::move(size).error(), start));
    auto part = bytes(*size, what);
    if (!part) return tl::unexpected(std::move(part).error());
    return std::string_view(reinterpret_cast<const char*>(part->data()), part->size());
  }

  /// "FILE, byte OFFSET".
  std::string place(std::uint64_t offset) const { return std::string(file_) + ", byte " + std::to_string(offset); }
  std::string place() const { return place(position_); }

  /// Gives an error this reader's place, where it has none yet.
  Error located(Error error, std::uint64_t offset) const {
    if (error.place.empty()) error.place = place(offset);
    return error;
  }

 private:
  tl::unexpected<Error> ended(std::string_view what, std::uint64_t wanted) const {
    return fail(ErrorCode::kCorrupt,
                "the file ends inside " + std::string(what) + " (" + std::to_string(wanted) + " bytes expected, " +
                    std::to_string(remaining()) + " left)",
                "The file is cut short or damaged: fetch it again and compare its size and checksum.", place());
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::uint64_t position_ = 0;
};

}  // namespace kinglet
