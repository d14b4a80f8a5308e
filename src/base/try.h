// KINGLET_TRY(declaration, expression): declaration = the value of a Result, or return its error.
// KINGLET_CHECK(expression): return the error of a Result<void>, if it has one.
#pragma once

#include <utility>

#include "kinglet/result.h"

#define KINGLET_JOIN_(a, b) a##b
#define KINGLET_JOIN(a, b) KINGLET_JOIN_(a, b)
#define KINGLET_TRY(declaration, ...) KINGLET_TRY_(KINGLET_JOIN(kinglet_try_, __LINE__), declaration, __VA_ARGS__)
#define KINGLET_TRY_(name, declaration, ...)                                   \
  auto name = (__VA_ARGS__);                                                   \
  if (!name) return tl::unexpected<::kinglet::Error>(std::move(name).error()); \
  declaration = std::move(*name)
#define KINGLET_CHECK(...)                                                       \
  do {                                                                           \
    if (auto kinglet_check = (__VA_ARGS__); !kinglet_check)                      \
      return tl::unexpected<::kinglet::Error>(std::move(kinglet_check).error()); \
  } while (false)
