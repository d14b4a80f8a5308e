// What a template may use, and how running out of it is reported inside the interpreter. Exceptions stay in this
// folder: ChatTemplate turns them into values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "kinglet/result.h"

namespace kinglet::chat {

inline constexpr std::int64_t kSteps = 10'000'000;  ///< the longest real rendering takes some 100,000
inline constexpr std::size_t kOutputBytes = std::size_t{64} << 20;
inline constexpr std::size_t kMemoryBytes = std::size_t{256} << 20;  ///< of all values alive at once
inline constexpr int kDepth = 256;               ///< of nested expressions, statements, calls and values
inline constexpr std::int64_t kRange = 100'000;  ///< elements of range(), as Jinja's sandbox has it

/// Thrown inside the interpreter only. The place is filled in where it is known.
struct TemplateError : std::exception {
  TemplateError(ErrorCode code, std::string message, std::string hint = {})
      : error{code, std::move(message), {}, std::move(hint)} {}
  Error error;
};

/// A template that uses a value in a way that Python refuses.
[[noreturn]] void refuse(std::string message);

/// Steps and memory of one rendering; the current thread's while it renders.
class Budget {
 public:
  Budget() : before_(current_) { current_ = this; }
  ~Budget() { current_ = before_; }
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  void step(std::int64_t count = 1);
  /// The work of reading or writing so many bytes.
  void work(std::size_t bytes) { step(static_cast<std::int64_t>(bytes / 64)); }
  void take(std::size_t bytes);
  void give_back(std::size_t bytes) { memory_ -= bytes; }
  static Budget* current() { return current_; }

 private:
  static thread_local Budget* current_;
  Budget* before_;
  std::int64_t steps_ = kSteps;
  std::size_t memory_ = 0;
};

/// Steps in proportion to `bytes` where a rendering is under way.
void charge(std::size_t bytes);

/// Counts an object's memory while it lives. What a parser makes belongs to no rendering and is not counted.
class Tracked {
 public:
  explicit Tracked(std::size_t bytes) { grow(bytes); }
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;
  void grow(std::size_t bytes) {
    if (budget_ == nullptr) return;
    budget_->take(bytes);
    bytes_ += bytes;
  }

 protected:
  ~Tracked() {
    if (budget_ != nullptr) budget_->give_back(bytes_);
  }

 private:
  Budget* budget_ = Budget::current();
  std::size_t bytes_ = 0;
};

}  // namespace kinglet::chat
