#include "base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/file.h"
#include "base/try.h"

namespace kinglet {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view hex) {
  std::array<std::uint8_t, 32> bytes{};
  bool good = hex.size() == 64;
  for (std::size_t i = 0; good && i < 32; ++i) {
    const int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
    good = high >= 0 && low >= 0;
    bytes[i] = static_cast<std::uint8_t>((high << 4) | (low & 15));
  }
  if (!good) return fail(ErrorCode::kInvalidArgument, "expected a SHA-256 of 64 hexadecimal digits");
  return Digest(bytes);
}

std::string Digest::hex() const {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const std::uint8_t byte : bytes_) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

// The EVP calls fail only when libcrypto cannot allocate or is configured without SHA-256; a null context then makes
// finish() give all zeros, which no checksum equals.
struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool good = false;
  State() { restart(); }
  ~State() { EVP_MD_CTX_free(context); }
  void restart() { good = context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1; }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (state_->good) state_->good = EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1;
}

Digest Sha256::finish() {
  std::array<std::uint8_t, 32> bytes{};
  if (state_->good && EVP_DigestFinal_ex(state_->context, bytes.data(), nullptr) != 1) bytes.fill(0);
  state_->restart();
  return Digest(bytes);
}

Digest sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

Result<Digest> sha256_file(const std::string& path, const std::function<bool(std::uint64_t)>& progress) {
  KINGLET_TRY(auto file, RegularFile::open(path));
  Sha256 hash;
  std::vector<std::byte> buffer(1 << 20);
  std::uint64_t done = 0;
  for (;;) {
    KINGLET_TRY(const std::size_t count, file.read(buffer));
    if (count == 0) return hash.finish();
    hash.update(std::span(buffer).first(count));
    done += count;
    if (progress && !progress(done)) return fail(ErrorCode::kCancelled, "interrupted", "", path);
  }
}

}  // namespace kinglet
