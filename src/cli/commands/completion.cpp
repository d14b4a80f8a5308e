#include <filesystem>

#include "base/file.h"
#include "base/try.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

constexpr std::string_view kWhat[] = {"bash", "zsh", "fish", "man", "models"};

Result<void> write_page(const std::string& folder, const Command* command) {
  const std::string name = command == nullptr ? "kinglet" : "kinglet-" + std::string(command->name);
  KINGLET_TRY(auto file, AtomicFile::create(folder + "/" + name + ".1"));
  KINGLET_CHECK(file->write(std::string_view(man_page(command))));
  return file->commit();
}

Result<void> write_man_pages(const std::string& folder) {
  KINGLET_CHECK(make_folders(folder));
  KINGLET_CHECK(write_page(folder, nullptr));
  for (const Command* command : commands()) KINGLET_CHECK(write_page(folder, command));
  return {};
}

// For the completion scripts: names only, and nothing at all where the store cannot be read.
Result<void> print_models() {
  if (auto names = local_model_names(); names)
    for (const std::string& name : *names) KINGLET_CHECK(print(name + "\n"));
  return {};
}

Result<void> run(const Arguments& arguments) {
  const auto& words = arguments.positional();
  const std::string& what = words.front();
  if (std::find(std::begin(kWhat), std::end(kWhat), what) == std::end(kWhat)) {
    const std::string near = nearest(what, kWhat);
    return fail(ErrorCode::kInvalidArgument, "expected bash, zsh, fish or man, found '" + what + "'",
                near.empty() ? "" : "Did you mean " + near + "?");
  }
  if ((what == "man") != (words.size() == 2))
    return fail(ErrorCode::kInvalidArgument,
                what == "man" ? "the folder for the pages is missing" : "unexpected argument '" + words[1] + "'",
                "Usage: kinglet completion bash|zsh|fish, or kinglet completion man FOLDER");
  if (what == "man") return write_man_pages(words[1]);
  if (what == "models") return print_models();
  return print(completion_script(what));
}

constexpr std::string_view kExamples[] = {
    "source <(kinglet completion bash)     # in this shell; put it into ~/.bashrc to keep it",
    "kinglet completion fish > ~/.config/fish/completions/kinglet.fish",
    "kinglet completion man /tmp/man1 && man /tmp/man1/kinglet-run.1",
};

}  // namespace

extern const Command command_completion = {
    .name = "completion",
    .group = CommandGroup::kOther,
    .summary = "Print a shell's completion script, or write the man pages",
    .usage = "bash|zsh|fish | man FOLDER",
    .description =
        "The script completes commands, options and the names of the models that this machine has. `man FOLDER` "
        "writes one page a command.",
    .options = {},
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
