#include "compress/workbench.h"

#include <utility>

#include "base/try.h"
#include "compress/memory_checkpoint.h"

namespace kinglet {
namespace {

constexpr std::string_view kLayerMatrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                               "ffn_gate", "ffn_up", "ffn_down"};

std::unique_ptr<Linear>* place_in(LayerWeights& layer, std::string_view kind) {
  if (kind == "attn_q") return &layer.query;
  if (kind == "attn_k") return &layer.key;
  if (kind == "attn_v") return &layer.value;
  if (kind == "attn_output") return &layer.output;
  if (kind == "ffn_gate") return &layer.gate;
  if (kind == "ffn_up") return &layer.up;
  return &layer.down;
}

std::string tensor_name(int layer, std::string_view kind) {
  return "blk." + std::to_string(layer) + "." + std::string(kind) + ".weight";
}

}  // namespace

Result<std::unique_ptr<PackedMatrix>> pack_matrix(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  auto packed = std::make_unique<PackedMatrix>();
  KINGLET_TRY(packed->linear, make_linear(checkpoint, tensor));
  const TileRange all{0, packed->linear->tiles()};
  KINGLET_TRY(packed->memory, AlignedMemory::allocate(packed->linear->packed_bytes(all)));
  packed->linear->pack(all, packed->memory.data());
  const Linear::Share share{all, packed->memory.data()};
  packed->linear->adopt({&share, 1});
  return packed;
}

Result<std::unique_ptr<PackedMatrix>> pack_matrix(const BlockType& type, std::vector<std::int64_t> shape,
                                                  TensorData data) {
  MemoryCheckpoint checkpoint;
  checkpoint.add("matrix", type, std::move(shape), std::move(data));
  return pack_matrix(checkpoint, checkpoint.tensors()[0]);
}

Result<std::unique_ptr<Workbench>> Workbench::open(const Checkpoint& checkpoint, LoadOptions options,
                                                   EngineOptions engine) {
  auto bench = std::make_unique<Workbench>();
  options.pack = false;
  bench->checkpoint_ = &checkpoint;
  KINGLET_TRY(bench->model_, Model::load(std::make_unique<BorrowedCheckpoint>(checkpoint), options));
  KINGLET_TRY(bench->engine_, Engine::create(bench->model_, engine));
  // The model was made as a plain object and nobody else knows it.
  auto& model = const_cast<Model&>(*bench->model_);
  bench->places_["token_embd.weight"].linear = &model.embedding;
  if (model.head) bench->places_["output.weight"].linear = &model.head;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    for (std::string_view kind : kLayerMatrices) {
      std::unique_ptr<Linear>* place = place_in(model.layers[i], kind);
      if (*place) bench->places_[tensor_name(static_cast<int>(i), kind)].linear = place;
    }
  }
  return bench;
}

std::vector<std::string> Workbench::matrices(int layer) const {
  std::vector<std::string> names;
  for (std::string_view kind : kLayerMatrices) {
    if (places_.contains(tensor_name(layer, kind))) names.push_back(tensor_name(layer, kind));
  }
  return names;
}

Result<void> Workbench::page_in(const std::string& tensor, Place& place) {
  if (place.packed) return {};
  const TensorInfo* info = checkpoint_->find(tensor);
  if (info == nullptr) return fail(ErrorCode::kNotFound, "the checkpoint has no tensor " + tensor);
  KINGLET_TRY(auto packed, pack_matrix(*checkpoint_, *info));
  *place.linear = std::move(packed->linear);
  place.memory = std::move(packed->memory);
  place.packed = true;
  return {};
}

Result<void> Workbench::page_in(int layer) {
  for (const std::string& name : matrices(layer)) KINGLET_CHECK(page_in(name, places_.at(name)));
  return {};
}

Result<void> Workbench::page_out(int layer) {
  for (const std::string& name : matrices(layer)) {
    Place& place = places_.at(name);
    KINGLET_TRY(*place.linear, make_linear(*checkpoint_, *checkpoint_->find(name)));
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
  return page_in_head();
}

Result<std::unique_ptr<PackedMatrix>> Workbench::exchange(const std::string& tensor,
                                                          std::unique_ptr<PackedMatrix> matrix) {
  const auto found = places_.find(tensor);
  if (found == places_.end()) return fail(ErrorCode::kNotFound, "the model has no matrix " + tensor);
  Place& place = found->second;
  std::unique_ptr<PackedMatrix> old;
  auto linear = std::exchange(*place.linear, std::move(matrix->linear));
  auto memory = std::exchange(place.memory, std::move(matrix->memory));
  if (std::exchange(place.packed, true)) {
    old = std::make_unique<PackedMatrix>();
    old->linear = std::move(linear);
    old->memory = std::move(memory);
  }
  return old;
}

}  // namespace kinglet
