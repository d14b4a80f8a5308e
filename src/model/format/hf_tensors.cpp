// Names of tensors between Hugging Face and GGUF, and the order of rotary rows.
#include <charconv>
#include <cstring>
#include <set>
#include <unordered_set>

#include "base/limits.h"
#include "base/try.h"
#include "kinglet/factors.h"
#include "model/format/hf.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

// True where `name` is `pattern` with {} standing for a layer's number.
bool matches(std::string_view pattern, std::string_view name, std::int64_t& layer) {
  const auto hole = pattern.find("{}");
  layer = -1;
  if (hole == std::string_view::npos) return pattern == name;
  const std::string_view before = pattern.substr(0, hole), after = pattern.substr(hole + 2);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return false;
  const std::string_view digits = name.substr(before.size(), name.size() - before.size() - after.size());
  if (digits.size() > 1 && digits.front() == '0') return false;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return result.ec == std::errc() && result.ptr == digits.data() + digits.size() && layer >= 0;
}

std::string fill(std::string_view pattern, std::int64_t layer) {
  std::string name(pattern);
  if (const auto hole = name.find("{}"); hole != std::string::npos) name.replace(hole, 2, std::to_string(layer));
  return name;
}

Result<std::int64_t> heads_of(const Architecture& architecture, const Metadata& gguf, const HfMatch& match) {
  const std::string prefix = std::string(architecture.name) + ".";
  KINGLET_TRY(const auto layers, gguf.integer(prefix + "block_count", 1, limits::kLayers));
  KINGLET_TRY(auto heads, gguf.integer_per_layer(prefix + "attention.head_count", 1, layers, 1, limits::kHeads));
  const auto layer = static_cast<std::size_t>(match.layer < 0 ? 0 : match.layer);
  if (layer >= heads.size())
    return fail(ErrorCode::kCorrupt, "there are weights of layer " + std::to_string(layer) + ", but only " +
                                         std::to_string(layers) + " layers");
  if (match.transform == HfTransform::kPermuteHeads) return heads[layer];
  KINGLET_TRY(auto kv,
              gguf.integer_per_layer(prefix + "attention.head_count_kv", heads[layer], layers, 1, limits::kHeads));
  return kv[layer];
}

Result<void> set_type(const HfSource& source, TensorInfo& info) {
  const SafetensorsTensor& tensor = source.tensor;
  const std::string quoted = "tensor '" + printable(tensor.name) + "'";
  if (!tensor.type)
    return fail(ErrorCode::kUnsupported, quoted + " has the dtype " + tensor.dtype,
                "Kinglet reads F32, F16 and BF16 weights: take the model's unquantized version.");
  if (tensor.shape.size() > static_cast<std::size_t>(limits::kDimensions))
    return fail(ErrorCode::kUnsupported, quoted + " has " + std::to_string(tensor.shape.size()) + " dimensions");
  info.type = tensor.type;
  info.shape = tensor.shape;
  if (info.shape.empty()) info.shape = {1};
  info.bytes = tensor.bytes;
  if (source.transform == HfTransform::kAddOne) {
    info.type = find_block_type("F32");  // 1 + w loses bits in narrower types
    info.bytes = static_cast<std::uint64_t>(info.elements()) * sizeof(float);
  } else if (source.transform != HfTransform::kNone) {
    const std::int64_t rows = info.shape.front();
    if (rows % source.heads != 0 || rows / source.heads % 2 != 0)
      return fail(ErrorCode::kCorrupt, quoted + " has " + std::to_string(rows) + " rows, which do not make " +
                                           std::to_string(source.heads) + " heads of an even length");
  }
  return {};
}

}  // namespace

Result<HfMatch> match_hf_name(const Architecture& architecture, std::string_view hf_name, bool multimodal) {
  std::string name(hf_name);
  if (multimodal) {
    // The language part of a model of several kinds: its names begin otherwise, the others' weights are not used.
    if (name.starts_with("language_model."))
      name.erase(0, std::string_view("language_model.").size());
    else if (name.starts_with("model.language_model."))
      name = "model." + name.substr(std::string_view("model.language_model.").size());
    else if (name != "lm_head.weight")
      return HfMatch{};
  }
  for (const HfName& entry : architecture.hf_names) {
    std::int64_t layer = -1;
    if (!matches(entry.hf, name, layer)) continue;
    if (entry.gguf.empty()) return HfMatch{};
    return HfMatch{fill(entry.gguf, layer), entry.transform, layer};
  }
  return fail(ErrorCode::kUnsupported,
              "tensor '" + printable(hf_name) + "' has no place in the architecture " + std::string(architecture.name),
              "The model is a variant that Kinglet does not know: its answers would be wrong without that tensor.");
}

HfMatch match_gguf_name(const Architecture& architecture, std::string_view gguf_name) {
  for (const HfName& entry : architecture.hf_names) {
    std::int64_t layer = -1;
    if (entry.gguf.empty() || !matches(entry.gguf, gguf_name, layer)) continue;
    return HfMatch{fill(entry.hf, layer), entry.transform, layer};
  }
  return {};
}

Result<HfTensors> map_tensors(const Architecture& architecture, const Metadata& gguf, const Metadata& flat,
                              std::vector<SafetensorsDirectory>& files, std::string_view folder) {
  KINGLET_TRY(const bool multimodal, flat.flag_or("kinglet.multimodal", false));
  KINGLET_TRY(const bool tied, flat.flag_or("tie_word_embeddings", false));
  KINGLET_TRY(const auto matrices, factored_matrices(gguf));
  std::set<std::string, std::less<>> factored;
  for (const FactoredMatrix& matrix : matrices) factored.insert(matrix.name);
  HfTensors result;
  std::unordered_set<std::string> seen;
  for (std::size_t file = 0; file < files.size(); ++file) {
    for (SafetensorsTensor& tensor : files[file].tensors) {
      const auto placed = [&](Error error) {
        if (error.place.empty()) error.place = folder;
        if (error.hint.empty()) error.hint = "config.json and the weights do not belong together: fetch both again.";
        return tl::unexpected(std::move(error));
      };
      auto match = factored.contains(matrix_of_factor(tensor.name))
                       ? Result<HfMatch>(HfMatch{tensor.name, HfTransform::kNone, -1})
                       : match_hf_name(architecture, tensor.name, multimodal);
      if (!match) return placed(std::move(match).error());
      if (match->gguf.empty() || (tied && match->gguf == "output.weight")) continue;
      HfSource source{file, std::move(tensor), match->transform, 0};
      if (match->transform == HfTransform::kPermuteHeads || match->transform == HfTransform::kPermuteKvHeads) {
        auto heads = heads_of(architecture, gguf, *match);
        if (!heads) return placed(std::move(heads).error());
        source.heads = *heads;
      }
      TensorInfo info;
      info.name = match->gguf;
      if (auto ok = set_type(source, info); !ok) return placed(std::move(ok).error());
      if (!seen.insert(info.name).second)
        return placed(
            Error{ErrorCode::kCorrupt, "tensor '" + printable(source.tensor.name) + "' stands twice", "", ""});
      result.infos.push_back(std::move(info));
      result.sources.push_back(std::move(source));
    }
  }
  if (result.infos.empty())
    return fail(ErrorCode::kCorrupt, "the model has no weights", "Fetch the model again.", std::string(folder));
  return result;
}

void permute_heads(std::span<const std::byte> from, std::span<std::byte> to, std::int64_t rows, std::int64_t heads,
                   bool back) {
  const std::size_t row = from.size() / static_cast<std::size_t>(rows);
  const std::int64_t length = rows / heads, half = length / 2;
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t i = 0; i < half; ++i)
      for (std::int64_t side = 0; side < 2; ++side) {
        const auto pairs = static_cast<std::size_t>(head * length + 2 * i + side);
        const auto halves = static_cast<std::size_t>(head * length + side * half + i);
        std::memcpy(to.data() + (back ? halves : pairs) * row, from.data() + (back ? pairs : halves) * row, row);
      }
}

}  // namespace kinglet
