#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/checkpoint.h"
#include "kinglet/convert.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

Result<void> report_result(const ConvertReport& report, bool as_json) {
  if (as_json) {
    return print_json({{"output", report.output},
                       {"bytes", report.bytes},
                       {"parameters", report.parameters},
                       {"bits_per_weight", report.bits_per_weight},
                       {"layer_bits_per_weight", report.layer_bits_per_weight},
                       {"lossless", report.lossless},
                       {"notes", report.notes}});
  }
  char bits[64];
  std::snprintf(bits, sizeof bits, ", %.2f bits per weight", report.bits_per_weight);
  return print(escape_for_terminal(report.output) + ": " + format_bytes(report.bytes) + bits +
               (report.lossless ? ", every value as it was\n" : "\n"));
}

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const std::string path, resolve_model(arguments.positional().front()));
  KINGLET_TRY(const auto checkpoint, open_checkpoint(path));
  ConvertOptions options;
  options.type = arguments.text("type");
  options.format = arguments.text("format");
  options.lossless = arguments.flag("lossless");
  if (arguments.given("threads")) options.threads = static_cast<int>(arguments.integer("threads"));
  ProgressBar bar(arguments.flag("quiet"));
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    bar.update({"converting", done, total, ProgressUnit::kBytes});
  };
  options.cancelled = [] { return interrupted(); };
  KINGLET_TRY(const ConvertReport report, convert_checkpoint(*checkpoint, arguments.text("output"), options));
  bar.finish();
  for (const std::string& line : report.notes) note(line);
  return report_result(report, arguments.flag("json"));
}

constexpr std::string_view kFormats[] = {"gguf", "safetensors"};
constexpr OptionSpec kOptions[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OptionKind::kFile,
     .value_name = "OUT",
     .help = "File (gguf) or folder (safetensors) to write"},
    {.name = "type",
     .kind = OptionKind::kText,
     .value_name = "T",
     .help = "Number type of the matrices: f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0, ... Without it they stay as "
             "they are"},
    {.name = "lossless",
     .kind = OptionKind::kFlag,
     .help = "Store bf16 and f16 matrices entropy-coded: about 70 % of bf16's bytes, the same values bit for bit"},
    {.name = "format",
     .kind = OptionKind::kChoice,
     .value_name = "FORMAT",
     .help = "Format to write",
     .fallback = "gguf",
     .choices = kFormats},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

constexpr std::string_view kExamples[] = {
    "kinglet convert all-minilm-l6-v2 -o minilm.gguf                  # a Hugging Face folder as one file",
    "kinglet convert model.gguf --type q8_0 -o model-q8_0.gguf        # other number type",
    "kinglet convert model.gguf --format safetensors -o model-hf      # back to a folder",
};

}  // namespace

extern const Command command_convert = {
    .name = "convert",
    .group = CommandGroup::kChange,
    .summary = "Write a model in another format or number type",
    .usage = "MODEL -o OUT [options]",
    .description =
        "Converts between GGUF and Hugging Face folders, and between number types, one tensor at a time. Float types "
        "hold each other's values where they are wide enough; block types round, without looking at any text (see "
        "shrink for that). The output appears whole or not at all.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
