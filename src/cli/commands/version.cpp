#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.h"
#include "cli/output.h"

namespace kinglet {
namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__) + "." +
         std::to_string(__clang_patchlevel__);
#else
  return "gcc " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + "." +
         std::to_string(__GNUC_PATCHLEVEL__);
#endif
}

constexpr std::string_view machine() {
#if defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "unknown";
#endif
}

Result<void> run(const Arguments& arguments) {
  if (arguments.flag("json"))
    return print_json({{"version", KINGLET_VERSION}, {"compiler", compiler()}, {"machine", machine()}});
  return print("kinglet " KINGLET_VERSION " (" + std::string(machine()) + ", " + compiler() + ")\n");
}

constexpr std::string_view kExamples[] = {"kinglet version", "kinglet version --json"};

}  // namespace

extern const Command command_version = {
    .name = "version",
    .group = CommandGroup::kOther,
    .summary = "Show the version of this program",
    .usage = "[options]",
    .description = "Prints the version, the processor family it was built for and the compiler that built it.",
    .options = {},
    .examples = kExamples,
    .run = run,
};

}  // namespace kinglet
