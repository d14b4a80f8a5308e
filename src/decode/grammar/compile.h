// The front ends: text to a Machine.
#pragma once

#include <string_view>

#include "decode/grammar/machine.h"
#include "kinglet/grammar.h"

namespace kinglet::grammar {

/// A schema's text; its values take up to 30 times as much.
inline constexpr std::uint64_t kMostSchemaBytes = 3u << 19;
/// What a node of a syntax tree takes, a character of a text for one.
inline constexpr std::uint64_t kAstBytes = 160;

Result<void> compile_schema(std::string_view schema, const SchemaOptions& options, Machine& machine, Budget& budget);
Result<void> compile_tags(std::string_view tags, const SchemaOptions& options, Machine& machine);
Result<void> compile_gbnf(std::string_view text, Machine& machine);

/// The pattern of a `format` of JSON Schema. Null: no such format, which then says nothing. kUnsupported for one that
/// JSON Schema defines and this does not.
Result<AstPtr> format_pattern(std::string_view format, Budget& budget);

}  // namespace kinglet::grammar
