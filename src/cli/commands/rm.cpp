#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

constexpr OptionSpec kOptions[] = {
    {.name = "partial", .kind = OptionKind::kFlag, .help = "Also remove what interrupted downloads left"},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

Result<void> run(const Arguments& arguments) {
  const auto& names = arguments.positional();
  if (names.empty() && !arguments.flag("partial")) {
    return fail(ErrorCode::kInvalidArgument, "expected the name of a model", "kinglet list shows what is there.");
  }
  // All names are looked up before the first model goes: a misspelling removes nothing.
  for (const std::string& name : names) {
    KINGLET_TRY([[maybe_unused]] const StoredModel model, find_stored_model(name));
  }
  std::uint64_t freed = 0;
  nlohmann::ordered_json removed = nlohmann::ordered_json::array();
  for (const std::string& name : names) {
    KINGLET_TRY(const std::uint64_t bytes, remove_model(name));
    freed += bytes;
    removed.push_back(name);
    if (!arguments.flag("json")) KINGLET_CHECK(print(name + " is removed (" + format_bytes(bytes) + ")\n"));
  }
  if (arguments.flag("partial")) {
    KINGLET_TRY(const std::uint64_t bytes, remove_partial_downloads());
    freed += bytes;
    if (!arguments.flag("json")) KINGLET_CHECK(print("partial downloads are removed (" + format_bytes(bytes) + ")\n"));
  }
  return arguments.flag("json") ? print_json({{"removed", removed}, {"freed_bytes", freed}}) : Result<void>{};
}

constexpr std::string_view kExamples[] = {
    "kinglet rm smollm2-135m-instruct",
    "kinglet rm --partial  # only what interrupted downloads left",
};

}  // namespace

extern const Command command_rm = {
    .name = "rm",
    .group = CommandGroup::kModels,
    .summary = "Remove models from the store",
    .usage = "[NAME...] [options]",
    .description =
        "Removes models from the store. A program that is using one goes on undisturbed; the disk space is "
        "free when it ends.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 0,
    .max_positional = -1,
    .run = run,
};

}  // namespace kinglet
