#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/checkpoint.h"
#include "kinglet/convert.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const MetadataValue& value) {
  return std::visit(
      [&](const auto& content) -> Json {
        using Content = std::decay_t<decltype(content)>;
        if constexpr (std::is_same_v<Content, std::int64_t>) {
          return value.type == MetadataType::kBool ? Json(content != 0) : Json(content);
        } else if constexpr (std::is_same_v<Content, std::vector<std::int64_t>>) {
          Json list = Json::array();
          for (std::int64_t item : content)
            list.push_back(value.type == MetadataType::kBool ? Json(item != 0) : Json(item));
          return list;
        } else {
          return Json(content);
        }
      },
      value.value);
}

Result<void> print_as_json(const Checkpoint& checkpoint) {
  const BitCounts counts = count_bits(checkpoint.tensors());
  Json metadata = Json::object();
  for (const auto& [key, value] : checkpoint.metadata().entries()) metadata.emplace(key, to_json(value));
  Json tensors = Json::array();
  for (const TensorInfo& tensor : checkpoint.tensors())
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.stored_type()},
                       {"shape", tensor.shape},
                       {"bytes", tensor.file_bytes()}});
  return print_json({{"format", checkpoint.format()},
                     {"architecture", checkpoint.architecture()},
                     {"metadata", std::move(metadata)},
                     {"tensors", std::move(tensors)},
                     {"parameters", counts.parameters},
                     {"bits_per_weight", counts.bits_per_weight},
                     {"layer_bits_per_weight", counts.layer_bits_per_weight},
                     {"file_bytes", checkpoint.file_bytes()}});
}

std::string decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

std::string short_text(const MetadataValue& value) {
  constexpr std::size_t kWidth = 72, kItems = 6;
  Json json = to_json(value);
  std::string text;
  if (json.is_array()) {
    text = std::to_string(json.size()) + " values: ";
    for (std::size_t i = 0; i < std::min(kItems, json.size()); ++i) text += (i > 0 ? ", " : "") + json_text(json[i]);
    if (json.size() > kItems) text += ", ...";
  } else if (const auto* number = std::get_if<double>(&value.value)) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%g", *number);
    text = digits;
  } else {
    text = json.is_string() ? json.get<std::string>() : json_text(json);
  }
  if (text.size() > kWidth) {
    std::size_t cut = kWidth;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // never inside a character
    text = text.substr(0, cut) + "... (" + std::to_string(text.size()) + " bytes)";
  }
  return escape_for_terminal(text);
}

std::string shape_text(const TensorInfo& tensor) {
  std::string text;
  for (std::int64_t size : tensor.shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string type_table(std::span<const TensorInfo> tensors) {
  struct Row {
    std::string_view type;
    std::size_t tensors = 0;
    std::uint64_t values = 0, bytes = 0;
  };
  std::vector<Row> rows;
  for (const TensorInfo& tensor : tensors) {
    auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.type == tensor.stored_type(); });
    if (row == rows.end()) row = rows.insert(rows.end(), Row{tensor.stored_type()});
    ++row->tensors;
    row->values += static_cast<std::uint64_t>(tensor.elements());
    row->bytes += tensor.file_bytes();
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.bytes > b.bytes; });
  std::string text = "\n  type      tensors  parameters      bytes      bits\n";
  for (const Row& row : rows)
    text +=
        "  " + padded(std::string(row.type), 10) + padded(std::to_string(row.tensors), 9) +
        padded(std::to_string(row.values), 16) + padded(format_bytes(row.bytes), 11) +
        decimals(8.0 * static_cast<double>(row.bytes) / static_cast<double>(std::max<std::uint64_t>(1, row.values))) +
        "\n";
  return text;
}

std::string tensor_table(std::span<const TensorInfo> tensors) {
  std::size_t width = 4;
  for (const TensorInfo& tensor : tensors) width = std::max(width, std::min<std::size_t>(60, tensor.name.size()));
  std::string text = "\n  " + padded("name", width) + "  type    bytes      shape\n";
  for (const TensorInfo& tensor : tensors)
    text += "  " + padded(escape_for_terminal(tensor.name), width) + "  " +
            padded(std::string(tensor.stored_type()), 8) + padded(format_bytes(tensor.file_bytes()), 11) +
            shape_text(tensor) + "\n";
  return text;
}

Result<void> print_as_text(const Checkpoint& checkpoint, bool with_tensors) {
  const BitCounts counts = count_bits(checkpoint.tensors());
  std::string text = escape_for_terminal(checkpoint.path()) + "\n\n";
  text += "  format                 " + std::string(checkpoint.format()) + "\n";
  text += "  architecture           " + escape_for_terminal(checkpoint.architecture()) + "\n";
  text += "  parameters             " + std::to_string(counts.parameters) + "\n";
  text += "  bytes                  " + std::to_string(checkpoint.file_bytes()) + " (" +
          format_bytes(checkpoint.file_bytes()) + ")\n";
  text += "  bits per weight        " + decimals(counts.bits_per_weight) + " (layers alone " +
          decimals(counts.layer_bits_per_weight) + ")\n";
  text += "  tensors                " + std::to_string(checkpoint.tensors().size()) + "\n";
  text += type_table(checkpoint.tensors()) + "\n";
  std::size_t width = 0;
  for (const auto& [key, value] : checkpoint.metadata().entries())
    width = std::max(width, std::min<std::size_t>(48, key.size()));
  for (const auto& [key, value] : checkpoint.metadata().entries())
    text += "  " + padded(escape_for_terminal(key), width) + "  " + short_text(value) + "\n";
  if (with_tensors) text += tensor_table(checkpoint.tensors());
  return print(text);
}

Result<void> run(const Arguments& arguments) {
  KINGLET_TRY(const std::string path, resolve_model(arguments.positional().front()));
  KINGLET_TRY(const auto checkpoint, open_checkpoint(path));
  return arguments.flag("json") ? print_as_json(*checkpoint) : print_as_text(*checkpoint, arguments.flag("tensors"));
}

constexpr OptionSpec kOptions[] = {
    {.name = "tensors", .letter = 't', .kind = OptionKind::kFlag, .help = "List every tensor"},
};
constexpr std::span<const OptionSpec> kOptionSets[] = {kOptions};

constexpr std::string_view kExamples[] = {
    "kinglet inspect smollm2-135m-instruct            # sizes, types and metadata",
    "kinglet inspect model.gguf --tensors             # and every tensor",
    "kinglet inspect model.gguf --json | jq .bits_per_weight",
};

}  // namespace

extern const Command command_inspect = {
    .name = "inspect",
    .group = CommandGroup::kModels,
    .summary = "Show what is in a model file",
    .usage = "MODEL [options]",
    .description =
        "Opens a GGUF file (or the first of a split set), a Hugging Face folder or a model of the store, checks its "
        "whole directory, and shows its format, sizes, number types and metadata. The weights are not read.",
    .options = kOptionSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
