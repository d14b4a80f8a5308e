#include <nlohmann/json.hpp>

#include "base/json.h"
#include "model/format/safetensors.h"

namespace kinglet {

std::string safetensors_header(const std::vector<SafetensorsTensor>& tensors,
                               const std::vector<std::pair<std::string, std::string>>& metadata) {
  // Written by hand: a JSON object of ours would search all its keys for each one added.
  std::string text = "{";
  const auto quoted = [](std::string_view value) { return dump_json(nlohmann::ordered_json(value)); };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (text.back() != '{') text += ',';
      text += quoted(key) + ":" + quoted(value);
    }
    text += "}";
  }
  std::uint64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (text.size() > 1) text += ',';
    text += quoted(tensor.name) + ":{\"dtype\":" + quoted(tensor.dtype) + ",\"shape\":[";
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) text += (d > 0 ? "," : "") + std::to_string(tensor.shape[d]);
    text += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + tensor.bytes) + "]}";
    offset += tensor.bytes;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace kinglet
