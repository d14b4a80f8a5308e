// Tensors in Kinglet's own types, and entropy-coded ones, inside GGUF, which has no numbers for them: each is a row of
// I8 values, and the key kinglet.codec (an array of strings, "K3 576x1536 blk.0.ffn_down.weight": type, shape with the
// outermost dimension first, name) says what they mean. general.architecture is "kinglet-ARCH" then, so that other
// readers refuse the file by name; so it is where a matrix is a product of tensors (kinglet/factors.h) or layers are
// shared (kinglet/layer_map.h).
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "tensor/codec/float_codec.h"

namespace kinglet {

inline constexpr std::string_view kCodecKey = "kinglet.codec";
inline constexpr std::string_view kNativePrefix = "kinglet-";

struct ShapedEntry {
  std::string_view type, name;
  std::vector<std::int64_t> shape;  ///< 1 to limits::kDimensions sizes from 1 on
};
/// "TYPE AxB NAME"; false where it is not of that form.
bool parse_entry(std::string_view text, ShapedEntry& entry);

/// Codecs of numbers that stay what they are: "BF16-H", "F16-H" (tensor/codec/float_codec.h); null for other types.
const char* float_codec(const BlockType& type);
/// The coded numbers of a tensor, of which every block was decoded once: kCorrupt, with the tensor's name, where one is
/// damaged. Views `stored`.
Result<FloatCode> open_stored(const TensorInfo& tensor, std::span<const std::byte> stored);
/// The numbers of a coded tensor as bytes of its type.
Result<std::vector<std::byte>> decode_stored(const TensorInfo& tensor, std::span<const std::byte> stored);

/// The metadata as it is written for these tensors: unchanged where all have a standard type.
Metadata with_native_types(const Metadata& metadata, const std::vector<GgufWriter::Plan>& plans);

/// The reverse, for what was read: gives the named tensors their type and shape and takes the keys away. kCorrupt where
/// an entry does not fit its tensor to the byte, kUnsupported for a type that this Kinglet does not know.
Result<void> resolve_native_types(Metadata& metadata, std::vector<TensorInfo>& tensors, std::string_view file);

}  // namespace kinglet
