#include "decode/text_stream.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace kinglet {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Shape { kWhole, kUnfinished, kWrong };
struct Scan {
  Shape shape;
  std::size_t size;  ///< of the character, or of the longest prefix of one (Unicode's "maximal subpart")
};

/// The character at the start of `bytes` (not empty), by table 3-7 of the Unicode standard.
Scan scan(std::string_view bytes) {
  const auto lead = static_cast<std::uint8_t>(bytes[0]);
  if (lead < 0x80) return {Shape::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Shape::kWrong, 1};
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  std::uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (std::size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {Shape::kUnfinished, i};
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    if (byte < low || byte > high) return {Shape::kWrong, i};
    low = 0x80, high = 0xBF;
  }
  return {Shape::kWhole, size};
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
  // One that starts inside a character can never stand in whole characters.
  std::erase_if(stops_,
                [](const std::string& s) { return s.empty() || (static_cast<std::uint8_t>(s[0]) & 0xC0) == 0x80; });
}

void TextStream::reserve(std::size_t bytes) {
  text_.reserve(bytes);
  pending_.reserve(256);
  tail_.reserve(256);
}

void TextStream::decode(std::string_view bytes) {
  tail_ += bytes;
  std::size_t at = 0;
  while (at < tail_.size()) {
    const Scan next = scan(std::string_view(tail_).substr(at));
    if (next.shape == Shape::kUnfinished) break;
    if (next.shape == Shape::kWhole)
      pending_.append(tail_, at, next.size);
    else
      pending_ += kReplacement;
    at += next.size;
  }
  tail_.erase(0, at);
}

std::string_view TextStream::release(std::size_t count) {
  const std::size_t from = text_.size();
  text_.append(pending_, 0, count);
  pending_.erase(0, count);
  return std::string_view(text_).substr(from);
}

std::size_t TextStream::held_back() const {
  std::size_t held = 0;
  for (const std::string& stop : stops_)
    for (std::size_t size = std::min(stop.size() - 1, pending_.size()); size > held; --size)
      if (pending_.ends_with(std::string_view(stop).substr(0, size))) held = size;
  return held;
}

std::string_view TextStream::append(std::string_view bytes) {
  if (stopped_) return {};
  decode(bytes);
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, pending_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    const std::string_view shown = release(first);
    pending_.clear();
    tail_.clear();
    return shown;
  }
  return release(pending_.size() - held_back());
}

std::string_view TextStream::finish() {
  if (stopped_) return {};
  if (!tail_.empty()) pending_ += kReplacement;
  tail_.clear();
  return release(pending_.size());
}

}  // namespace kinglet
