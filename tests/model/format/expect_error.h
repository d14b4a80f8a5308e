// What every refused file must answer: the right code, a place, a way out, and nothing that harms a terminal.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kinglet/result.h"

namespace kinglet {

template <typename T>
void expect_error(const Result<T>& result, ErrorCode code, std::string_view part, std::string_view place = "byte ") {
  ASSERT_FALSE(result.has_value()) << "was accepted";
  const Error& error = result.error();
  EXPECT_EQ(static_cast<int>(error.code), static_cast<int>(code)) << error.text();
  EXPECT_NE(error.message.find(part), std::string::npos) << error.text();
  EXPECT_NE(error.place.find(place), std::string::npos) << "place: '" << error.place << "' of " << error.message;
  EXPECT_FALSE(error.hint.empty()) << error.message;
  for (char c : error.message + error.place) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << error.text();
}

}  // namespace kinglet
