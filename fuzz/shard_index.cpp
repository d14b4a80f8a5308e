// model.safetensors.index.json, and config.json: the two JSON files that say what else is read. Oracle: no accepted
// file name leads out of the folder; flat keys are unique.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/json.h"
#include "model/format/hf.h"
#include "model/format/safetensors.h"

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kinglet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto index = parse_shard_index(text, "input")) {
    require(!index->tensors.empty() && !index->files.empty());
    for (const std::string& file : index->files)
      require(file.find('/') == std::string::npos && file.front() != '.' && file.ends_with(".safetensors"));
    for (const auto& [name, file] : index->tensors) require(!name.empty() && file < index->files.size());
  } else {
    require(!index.error().message.empty() && !index.error().place.empty());
  }
  const auto config = parse_json(text, "input");
  if (!config) return 0;
  require(parse_json(dump_json(*config), "again").has_value());
  const auto flat = flatten_config(*config, "input");
  if (!flat) return 0;
  std::set<std::string_view> keys;
  for (const auto& [key, value] : flat->entries()) require(keys.insert(key).second);
  if (const auto architecture = architecture_of(*config, "folder"))
    (void)import_config(**architecture, *flat, "folder");
  return 0;
}
