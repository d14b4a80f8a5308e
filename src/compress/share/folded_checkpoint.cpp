#include "compress/share/folded_checkpoint.h"

#include <algorithm>

#include "base/try.h"
#include "kinglet/architecture.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "kinglet/model.h"
#include "kinglet/pass.h"
#include "model/configure.h"
#include "model/format/hf.h"

namespace kinglet {
namespace {

std::string layer_prefix(int layer) { return "blk." + std::to_string(layer) + "."; }

/// "ffn_up.weight", "ffn_up.weight.1", "ffn_up.bias": what goes with the matrices. `rest` is the name without "blk.N.".
bool belongs_to_matrix(std::string_view rest) {
  return std::any_of(std::begin(kLayerMatrixKinds), std::end(kLayerMatrixKinds), [&](std::string_view kind) {
    return rest.starts_with(kind) && rest.size() > kind.size() && rest[kind.size()] == '.';
  });
}

bool is_bias(std::string_view rest) { return rest.ends_with(".bias"); }

/// Values for each layer stay with their layers.
template <typename T>
std::vector<T> picked(const std::vector<T>& values, const std::vector<FoldedLayer>& layout) {
  std::vector<T> result;
  for (const FoldedLayer& layer : layout) result.push_back(values[static_cast<std::size_t>(layer.original)]);
  return result;
}

void pick_arrays(Metadata& metadata, const std::string& prefix, std::size_t layers,
                 const std::vector<FoldedLayer>& layout) {
  const auto entries = metadata.entries();
  for (const auto& [key, entry] : entries) {
    if (!key.starts_with(prefix) || !entry.is_array) continue;
    MetadataValue value = entry;
    std::visit(
        [&](auto& list) {
          using List = std::decay_t<decltype(list)>;
          if constexpr (!std::is_same_v<List, std::int64_t> && !std::is_same_v<List, double> &&
                        !std::is_same_v<List, std::string>) {
            if (list.size() == layers) list = picked(list, layout);
          }
        },
        value.value);
    metadata.set(key, std::move(value));
  }
}

bool windows_match(const ModelConfig& before, const ModelConfig& after, const std::vector<FoldedLayer>& layout) {
  for (std::size_t i = 0; i < layout.size(); ++i) {
    const LayerConfig& original = before.per_layer[static_cast<std::size_t>(layout[i].original)];
    if (after.per_layer[i].sliding_window != original.sliding_window ||
        after.per_layer[i].rope_base != original.rope_base)
      return false;
  }
  return true;
}

}  // namespace

std::vector<FoldedLayer> whole_layout(int layers) {
  std::vector<FoldedLayer> layout;
  for (int i = 0; i < layers; ++i) layout.push_back({i, i, i});
  return layout;
}

Result<void> FoldedCheckpoint::set_metadata(const std::vector<FoldedLayer>& layout) {
  metadata_ = source_->metadata();
  const std::string architecture = source_->architecture();
  const Architecture* known = find_architecture(architecture);
  if (known == nullptr)
    return fail(ErrorCode::kUnsupported, "the architecture '" + architecture + "' is not supported");
  KINGLET_TRY(const ModelConfig before, known->configure(source_->metadata()));
  pick_arrays(metadata_, architecture + ".", before.per_layer.size(), layout);
  metadata_.set_integer(key_of(architecture, "block_count"), static_cast<std::int64_t>(layout.size()));
  metadata_.erase(kHfConfigKey);  // it tells of the whole model
  std::vector<int> map;
  for (const FoldedLayer& layer : layout) map.push_back(layer.owner);
  set_layer_map(metadata_, map);
  KINGLET_TRY(ModelConfig after, known->configure(metadata_));
  if (windows_match(before, after, layout)) return {};
  // The pattern as a flag for each layer, where the architecture knows that form.
  std::vector<std::int64_t> slides;
  for (const FoldedLayer& layer : layout)
    slides.push_back(before.per_layer[static_cast<std::size_t>(layer.original)].sliding_window > 0);
  metadata_.set_integers(key_of(architecture, "attention.sliding_window_pattern"), slides, MetadataType::kBool);
  auto again = known->configure(metadata_);
  if (again && windows_match(before, *again, layout)) return {};
  return fail(ErrorCode::kUnsupported,
              "in " + architecture + " the kind of attention follows the layer's number: layers cannot be left out");
}

void FoldedCheckpoint::add(const TensorInfo& from, std::string name) {
  TensorInfo info = from;
  info.name = std::move(name);
  infos_.push_back(std::move(info));
  origins_.push_back(&from);
}

Result<void> FoldedCheckpoint::add_layer(int index, const FoldedLayer& layer, FoldedNorms norms,
                                         const std::vector<int>& map) {
  const std::string mine = layer_prefix(index);
  const int holder = map[static_cast<std::size_t>(layer.donor)];
  const int normed = norms == FoldedNorms::kOwn ? layer.original : layer.donor;
  for (const TensorInfo& tensor : source_->tensors()) {
    const auto is_of = [&](int source_layer) { return tensor.name.starts_with(layer_prefix(source_layer)); };
    const std::size_t dot = tensor.name.find('.', 4);
    if (!tensor.name.starts_with("blk.") || dot == std::string::npos) continue;
    const std::string rest = tensor.name.substr(dot + 1);
    const bool with_matrix = belongs_to_matrix(rest);
    bool taken = !with_matrix && is_of(normed);
    if (with_matrix && is_bias(rest)) taken = is_of(layer.donor);
    if (with_matrix && !is_bias(rest)) taken = layer.owner == index && is_of(holder);
    if (taken) add(tensor, mine + rest);
  }
  return {};
}

Result<std::unique_ptr<FoldedCheckpoint>> FoldedCheckpoint::create(const Checkpoint& source,
                                                                   std::vector<FoldedLayer> layout, FoldedNorms norms) {
  auto folded = std::make_unique<FoldedCheckpoint>();
  folded->source_ = &source;
  KINGLET_CHECK(folded->set_metadata(layout));
  KINGLET_TRY(const auto layers,
              source.metadata().integer(key_of(source.architecture(), "block_count"), 1, layer_count(source)));
  KINGLET_TRY(const std::vector<int> map, layer_map(source.metadata(), layers));
  std::size_t i = 0;
  const auto tensors = source.tensors();
  for (; i < tensors.size() && !tensors[i].name.starts_with("blk."); ++i) folded->add(tensors[i], tensors[i].name);
  for (std::size_t layer = 0; layer < layout.size(); ++layer)
    KINGLET_CHECK(folded->add_layer(static_cast<int>(layer), layout[layer], norms, map));
  for (; i < tensors.size(); ++i)
    if (!tensors[i].name.starts_with("blk.")) folded->add(tensors[i], tensors[i].name);
  KINGLET_TRY(const auto factored, factored_matrices(source.metadata()));
  std::vector<FactoredMatrix> list;
  for (std::size_t layer = 0; layer < layout.size(); ++layer) {
    const std::string from = layer_prefix(map[static_cast<std::size_t>(layout[layer].donor)]);
    if (layout[layer].owner != static_cast<int>(layer)) continue;
    for (FactoredMatrix matrix : factored) {
      if (!matrix.name.starts_with(from)) continue;
      matrix.name = layer_prefix(static_cast<int>(layer)) + matrix.name.substr(from.size());
      list.push_back(std::move(matrix));
    }
  }
  for (const FactoredMatrix& matrix : factored)
    if (!matrix.name.starts_with("blk.")) list.push_back(matrix);
  set_factored_matrices(folded->metadata_, list);
  return folded;
}

const TensorInfo* FoldedCheckpoint::origin(const TensorInfo& tensor) const {
  const TensorInfo* mine = &tensor;
  if (mine < infos_.data() || mine >= infos_.data() + infos_.size()) mine = find(tensor.name);
  return mine == nullptr ? nullptr : origins_[static_cast<std::size_t>(mine - infos_.data())];
}

Result<TensorData> FoldedCheckpoint::data(const TensorInfo& tensor) const {
  const TensorInfo* from = origin(tensor);
  if (from == nullptr) return fail(ErrorCode::kNotFound, "there is no tensor '" + tensor.name + "'");
  return source_->data(*from);
}

void FoldedCheckpoint::release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const {
  if (const TensorInfo* from = origin(tensor)) source_->release(*from, begin, end);
}

std::uint64_t FoldedCheckpoint::file_bytes() const {
  std::uint64_t sum = 0;
  for (const TensorInfo& info : infos_) sum += info.bytes;
  return sum;
}

}  // namespace kinglet
