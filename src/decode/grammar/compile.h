// The front ends: text to a Machine.
#pragma once

#include <string_view>

#include "decode/grammar/machine.h"
#include "kinglet/grammar.h"

namespace kinglet::grammar {

Result<void> compile_schema(std::string_view schema, const SchemaOptions& options, Machine& machine, Budget& budget);
Result<void> compile_tags(std::string_view tags, const SchemaOptions& options, Machine& machine);
Result<void> compile_gbnf(std::string_view text, Machine& machine);

/// The pattern of a `format` of JSON Schema. Null: no such format, which then says nothing. kUnsupported for one that
/// JSON Schema defines and this does not.
Result<AstPtr> format_pattern(std::string_view format, Budget& budget);

}  // namespace kinglet::grammar
