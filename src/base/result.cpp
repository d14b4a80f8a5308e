#include "kinglet/result.h"

namespace kinglet {

Error Error::within(std::string_view context) && {
  message = std::string(context) + ": " + message;
  return std::move(*this);
}

std::string Error::text() const {
  std::string text = place.empty() ? message : place + ": " + message;
  if (!hint.empty()) text += "\n" + hint;
  return text;
}

tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string hint, std::string place) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(place), std::move(hint)});
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kNotFound:
      return 3;
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported:
      return 4;
    case ErrorCode::kExhausted:
      return 5;
    case ErrorCode::kQualityGate:
      return 6;
    case ErrorCode::kCancelled:
      return 130;
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 1;
  }
  return 1;
}

}  // namespace kinglet
