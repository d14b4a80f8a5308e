#include "compress/workbench.h"

#include <algorithm>
#include <utility>

#include "base/try.h"
#include "compress/memory_checkpoint.h"
#include "kinglet/factors.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t whole_bytes(const Linear& linear) {
  return (linear.packed_bytes({0, linear.tiles()}) + kAlignment - 1) / kAlignment * kAlignment;
}

/// A checkpoint without the bytes of its layers' matrices, which a model is made of before they are packed: all of them
/// share one piece of memory that nobody reads. A tensor that is changed while it is read (rotary rows, entropy coding)
/// would otherwise lie in memory for every layer.
class Outline final : public BorrowedCheckpoint {
 public:
  Outline(const Checkpoint& whole, AlignedMemory room)
      : BorrowedCheckpoint(whole), room_(std::make_shared<AlignedMemory>(std::move(room))) {}
  Result<TensorData> data(const TensorInfo& tensor) const override {
    if (!is_layer_matrix(tensor.name)) return BorrowedCheckpoint::data(tensor);
    return TensorData{{room_->data(), static_cast<std::size_t>(tensor.bytes)}, room_};
  }

 private:
  std::shared_ptr<AlignedMemory> room_;
};

Result<std::unique_ptr<Checkpoint>> outline_of(const Checkpoint& checkpoint) {
  std::uint64_t largest = 0;
  for (const TensorInfo& tensor : checkpoint.tensors())
    if (is_layer_matrix(tensor.name)) largest = std::max(largest, tensor.bytes);
  KINGLET_TRY(AlignedMemory room, AlignedMemory::allocate(largest));
  return std::make_unique<Outline>(checkpoint, std::move(room));
}

}  // namespace

bool is_layer_matrix(std::string_view name) {
  return std::any_of(std::begin(kLayerMatrixKinds), std::end(kLayerMatrixKinds), [&](std::string_view kind) {
    return name.starts_with("blk.") && name.ends_with("." + std::string(kind) + ".weight");
  });
}

std::vector<const TensorInfo*> tensors_of(const Checkpoint& checkpoint, const std::string& name) {
  const auto factored = find_factored(checkpoint.metadata(), name);
  if (factored && *factored) return factors_of(checkpoint, **factored);
  const TensorInfo* tensor = checkpoint.find(name);
  return tensor == nullptr ? std::vector<const TensorInfo*>() : std::vector{tensor};
}

Result<std::unique_ptr<PackedMatrix>> pack_matrix(const Checkpoint& checkpoint, std::string_view name) {
  auto packed = std::make_unique<PackedMatrix>();
  KINGLET_TRY(packed->linear, make_linear(checkpoint, name));
  const std::vector<Linear*> parts = packed_parts(*packed->linear);
  std::size_t bytes = 0;
  for (const Linear* part : parts) bytes += whole_bytes(*part);
  KINGLET_TRY(packed->memory, AlignedMemory::allocate(bytes));
  std::byte* to = packed->memory.data();
  for (Linear* part : parts) {
    const TileRange all{0, part->tiles()};
    part->pack(all, to);
    const Linear::Share share{all, to};
    part->adopt({&share, 1});
    to += whole_bytes(*part);
  }
  return packed;
}

Result<std::unique_ptr<PackedMatrix>> pack_matrix(const BlockType& type, std::vector<std::int64_t> shape,
                                                  TensorData data) {
  MemoryCheckpoint checkpoint;
  checkpoint.add("matrix", type, std::move(shape), std::move(data));
  return pack_matrix(checkpoint, "matrix");
}

Result<std::unique_ptr<Workbench>> Workbench::open(const Checkpoint& checkpoint, LoadOptions options,
                                                   EngineOptions engine) {
  auto bench = std::make_unique<Workbench>();
  options.pack = false;
  bench->checkpoint_ = &checkpoint;
  KINGLET_TRY(bench->outline_, outline_of(checkpoint));
  KINGLET_TRY(bench->model_, Model::load(std::make_unique<BorrowedCheckpoint>(*bench->outline_), options));
  KINGLET_TRY(bench->engine_, Engine::create(bench->model_, engine));
  Model& model = bench->own_model();
  const auto place = [&](const std::string& name, std::shared_ptr<Linear>& linear) {
    if (linear) bench->places_[name].linears.push_back(&linear);
  };
  place("token_embd.weight", model.embedding);
  place("token_types.weight", model.token_types);
  place("position_embd.weight", model.position_embedding);
  place("output.weight", model.head);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const int owner = model.config().owner(static_cast<int>(i));
    for (std::string_view kind : kLayerMatrixKinds) {
      place(layer_matrix_name(owner, kind), model.layers[i].matrix(kind));
    }
  }
  return bench;
}

std::vector<std::string> Workbench::matrices(int layer) const {
  std::vector<std::string> names;
  for (std::string_view kind : kLayerMatrixKinds) {
    std::string name = layer_matrix_name(model_->config().owner(layer), kind);
    if (places_.contains(name)) names.push_back(std::move(name));
  }
  return names;
}

void Workbench::put(Place& place, const std::shared_ptr<Linear>& linear) {
  for (std::shared_ptr<Linear>* each : place.linears) *each = linear;
}

Result<void> Workbench::page_in(const std::string& tensor, Place& place) {
  if (place.packed) return {};
  KINGLET_TRY(auto packed, pack_matrix(*checkpoint_, tensor));
  put(place, packed->linear);
  place.memory = std::move(packed->memory);
  place.packed = true;
  for (const TensorInfo* part : tensors_of(*checkpoint_, tensor)) checkpoint_->release(*part, 0, part->bytes);
  return {};
}

Result<void> Workbench::page_in(int layer) {
  for (const std::string& name : matrices(layer)) KINGLET_CHECK(page_in(name, places_.at(name)));
  return {};
}

Result<void> Workbench::page_out(int layer) {
  for (const std::string& name : matrices(layer)) {
    Place& place = places_.at(name);
    KINGLET_TRY(auto linear, make_linear(*outline_, name));
    put(place, std::move(linear));
    place.memory = {};
    place.packed = false;
  }
  return {};
}

Result<void> Workbench::page_in_head() {
  const std::string name = model_->head ? "output.weight" : "token_embd.weight";
  return page_in(name, places_.at(name));
}

Result<void> Workbench::page_in_all() {
  for (int i = 0; i < model_->config().layers; ++i) KINGLET_CHECK(page_in(i));
  const std::string positions = "position_embd.weight";
  if (model_->position_embedding) KINGLET_CHECK(page_in(positions, places_.at(positions)));
  return page_in_head();
}

const Linear* Workbench::linear(const std::string& tensor) const {
  const auto found = places_.find(tensor);
  return found == places_.end() ? nullptr : found->second.linears.front()->get();
}

Vector* Workbench::vector(std::string_view tensor) {
  Model& model = own_model();
  if (tensor == "token_embd_norm.weight") return &model.embedding_norm;
  if (tensor == "token_embd_norm.bias") return &model.embedding_norm_bias;
  const int index = tensor_block(tensor, static_cast<int>(model.layers.size())) - 1;
  if (index < 0 || index >= static_cast<int>(model.layers.size())) return nullptr;
  LayerWeights& layer = model.layers[static_cast<std::size_t>(index)];
  const std::pair<std::string_view, Vector*> vectors[] = {{"attn_output_norm.weight", &layer.attention_norm},
                                                          {"attn_output_norm.bias", &layer.attention_norm_bias},
                                                          {"layer_output_norm.weight", &layer.feed_forward_norm},
                                                          {"layer_output_norm.bias", &layer.feed_forward_norm_bias},
                                                          {"attn_q.bias", &layer.query_bias},
                                                          {"attn_k.bias", &layer.key_bias},
                                                          {"attn_v.bias", &layer.value_bias},
                                                          {"attn_output.bias", &layer.output_bias},
                                                          {"ffn_up.bias", &layer.up_bias},
                                                          {"ffn_down.bias", &layer.down_bias}};
  const std::string_view kind = tensor.substr(tensor.find('.', 4) + 1);
  for (const auto& [name, vector] : vectors)
    if (name == kind) return vector;
  return nullptr;
}

Result<std::unique_ptr<PackedMatrix>> Workbench::exchange(const std::string& tensor,
                                                          std::unique_ptr<PackedMatrix> matrix) {
  const auto found = places_.find(tensor);
  if (found == places_.end()) return fail(ErrorCode::kNotFound, "the model has no matrix " + tensor);
  Place& place = found->second;
  std::unique_ptr<PackedMatrix> old;
  const std::shared_ptr<Linear> linear = *place.linears.front();
  put(place, matrix->linear);
  auto memory = std::exchange(place.memory, std::move(matrix->memory));
  if (std::exchange(place.packed, true)) {
    old = std::make_unique<PackedMatrix>();
    old->linear = linear;
    old->memory = std::move(memory);
  }
  return old;
}

}  // namespace kinglet
