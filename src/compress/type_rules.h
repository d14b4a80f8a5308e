// The options `type`, `tensors` and `among` of the passes that store matrices in block types.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kinglet/pass.h"

namespace kinglet {

/// Declares the types that a plan may choose from, for passes whose types a target may leave open.
inline constexpr PassOption kAmongOption{
    .name = "among",
    .kind = PassOptionKind::kList,
    .value_name = "T, …",
    .help = "Types to choose from for a target or in a search; without it all that are ever worth their bytes"};
/// Those that the option lists; none where it is absent. kInvalidArgument, with the option's place, as for `type`.
Result<std::vector<const BlockType*>> types_among(const PassOptions& options);

class TypeRules {
 public:
  /// kInvalidArgument, with the option's place, for types that do not exist or cannot be written.
  static Result<TypeRules> make(const PassOptions& options);
  /// The copying plan with the types that the rules give; kInvalidArgument where a pattern matches nothing.
  Result<PassPlan> plan(const PassContext& context) const;

 private:
  struct Rule {
    std::string pattern;
    const BlockType* type;
  };
  const BlockType* type_ = nullptr;
  std::vector<Rule> rules_;
  std::string place_;
};

/// Where Kinglet's own forms make a file unreadable to others, a second copy of the tokenizer for them is but bytes.
void leave_out_foreign_tokenizer(const Checkpoint& source, Metadata& metadata);

}  // namespace kinglet
