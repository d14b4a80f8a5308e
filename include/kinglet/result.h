// Errors are values. Every call that can fail because of what a file, a request or the machine holds returns Result<T>;
// nothing throws across a folder's border.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace kinglet {

/// What kind of failure it was. The exit status of a command derives from this alone (see exit_code()).
enum class ErrorCode {
  kInvalidArgument,  ///< the caller's options or request: exit 2
  kNotFound,         ///< no such model, file or tensor: exit 3
  kCorrupt,          ///< a file or a stream that breaks its format, or its checksum: exit 4
  kUnsupported,      ///< well-formed, but something that Kinglet does not do: exit 4
  kExhausted,        ///< not enough memory or disk, or a limit of base/limits.h: exit 5
  kQualityGate,      ///< a measured quality missed its bound: exit 6
  kIo,               ///< the operating system or the network refused: exit 1
  kCancelled,        ///< interrupted: exit 130
  kInternal,         ///< a bug of ours: exit 1
};

/// A failure with its place, its cause and a way out.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  ///< what was expected and what was found, without a full stop
  std::string place;    ///< file and offset, JSON pointer, recipe line; may be empty
  std::string hint;     ///< a way out, as a sentence; may be empty

  /// Adds context on the way up: "loading model.gguf: <message>".
  Error within(std::string_view context) &&;

  /// "place: message" and, on a second line, the hint.
  std::string text() const;
};

template <typename T>
using Result = tl::expected<T, Error>;

/// Makes the error side of a Result.
tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string hint = {}, std::string place = {});

/// The process exit status of the contract for an error code.
int exit_code(ErrorCode code);

}  // namespace kinglet
