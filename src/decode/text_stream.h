// From tokens' bytes to text that may be shown: whole characters, and nothing that may still become a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kinglet {

/// Bytes go in as tokens come; ill-formed UTF-8 becomes U+FFFD as soon as it is certain.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops = {});

  /// Memory for a text of this many bytes, so that append() allocates nothing up to there.
  void reserve(std::size_t bytes);

  /// Adds bytes and returns what has become certain, valid until the next call. After a stop string was found nothing
  /// more is certain.
  std::string_view append(std::string_view bytes);
  /// The end: an unfinished character becomes U+FFFD, and what was held back for a stop string is text after all.
  std::string_view finish();

  bool stopped() const { return stopped_; }
  /// All that append() and finish() returned.
  const std::string& text() const { return text_; }

 private:
  void decode(std::string_view bytes);
  std::string_view release(std::size_t count);
  std::size_t held_back() const;

  std::vector<std::string> stops_;
  std::string tail_;     ///< bytes of an unfinished character
  std::string pending_;  ///< whole characters that may belong to a stop string
  std::string text_;
  bool stopped_ = false;
};

}  // namespace kinglet
