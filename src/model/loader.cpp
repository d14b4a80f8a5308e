#include "model/loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>

#include "base/aligned_memory.h"
#include "base/limits.h"
#include "base/memory_info.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "kinglet/layer_map.h"
#include "model/arena.h"
#include "model/layer_ring.h"

namespace kinglet {
namespace {

std::string shape_text(const TensorInfo& tensor) {
  std::string text;
  for (std::int64_t size : tensor.shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

TileRange share_of(std::int64_t tiles, int thread, int threads) {
  return {tiles * thread / threads, tiles * (thread + 1) / threads};
}

}  // namespace

Result<void> ModelLoader::configure() {
  std::string name = checkpoint_.architecture();
  if (name.empty()) {
    return fail(ErrorCode::kCorrupt, "general.architecture is missing",
                "Is this a model, or an adapter or a vocabulary?");
  }
  if (name.starts_with("kinglet-")) name.erase(0, 8);
  const Architecture* architecture = find_architecture(name);
  if (architecture == nullptr) {
    std::string known;
    for (const Architecture* each : architectures()) known += (known.empty() ? "" : ", ") + std::string(each->name);
    return fail(ErrorCode::kUnsupported, "the architecture '" + name + "' is not supported",
                "Kinglet runs: " + known + ".");
  }
  KINGLET_TRY(model_.config_, architecture->configure(checkpoint_.metadata()));
  const TensorInfo* embedding = checkpoint_.find("token_embd.weight");
  KINGLET_TRY(const auto factored, find_factored(checkpoint_.metadata(), "token_embd.weight"));
  if (!factored && (embedding == nullptr || embedding->shape.size() != 2)) {
    return fail(ErrorCode::kCorrupt, "token_embd.weight is missing or no matrix");
  }
  model_.config_.vocabulary = factored ? factored->outputs : embedding->rows();
  if (model_.config_.vocabulary > limits::kVocabulary) {
    return fail(ErrorCode::kCorrupt,
                "a vocabulary of " + std::to_string(model_.config_.vocabulary) + " tokens is too large");
  }
  return {};
}

Result<void> ModelLoader::matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs,
                                 std::shared_ptr<Linear>& to) {
  const auto misfit = [&](const std::string& found) {
    return fail(ErrorCode::kCorrupt, name + " is " + found + ", the hyperparameters ask for " +
                                         std::to_string(outputs) + " x " + std::to_string(inputs));
  };
  const TensorInfo* tensor = checkpoint_.find(name);
  if (tensor != nullptr && (tensor->shape.size() != 2 || tensor->rows() != outputs || tensor->columns() != inputs)) {
    return misfit(shape_text(*tensor));
  }
  KINGLET_TRY(to, make_linear(checkpoint_, name));
  if (to->outputs() != outputs || to->inputs() != inputs) {
    return misfit(std::to_string(to->outputs()) + " x " + std::to_string(to->inputs()));
  }
  if (tensor == nullptr) ++factored_;
  const std::vector<Linear*> parts = packed_parts(*to);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const TensorInfo* from = tensor;
    if (tensor == nullptr) from = checkpoint_.find(name + "." + std::to_string(i));
    if (from != nullptr && from->shape.size() != 2) from = nullptr;
    if (from != nullptr && (from->rows() != parts[i]->outputs() || parts[i]->inputs() != from->columns())) {
      from = nullptr;  // the part is not the factor of its number
    }
    slots_.push_back({parts[i], from, current_layer_});
  }
  return {};
}

Result<void> ModelLoader::vector(const std::string& name, std::int64_t length, Vector& to) {
  const TensorInfo* tensor = checkpoint_.find(name);
  if (tensor == nullptr) return fail(ErrorCode::kCorrupt, "the tensor " + name + " is missing");
  if (tensor->elements() != length) {
    return fail(ErrorCode::kCorrupt, name + " has " + shape_text(*tensor) + " values, the hyperparameters ask for " +
                                         std::to_string(length));
  }
  if (tensor->type->decode == nullptr) {
    return fail(ErrorCode::kUnsupported, name + " is stored as " + std::string(tensor->type->name));
  }
  KINGLET_TRY(TensorData data, checkpoint_.data(*tensor));
  to.resize(std::size_t(length));
  tensor->type->decode(data.bytes.data(), std::size_t(length) / std::size_t(tensor->type->block_values), to.data());
  for (float value : to) {
    if (!std::isfinite(value)) return fail(ErrorCode::kCorrupt, name + " holds a value that is not finite");
  }
  return {};
}

Result<void> ModelLoader::optional_vector(const std::string& name, std::int64_t length, Vector& to) {
  if (checkpoint_.find(name) == nullptr) return {};
  return vector(name, length, to);
}

Result<void> ModelLoader::norm(const std::string& name, Vector& weight, Vector& bias) {
  KINGLET_CHECK(vector(name + ".weight", model_.config_.width, weight));
  if (model_.config_.norm == NormKind::kLayer) KINGLET_CHECK(vector(name + ".bias", model_.config_.width, bias));
  return {};
}

Result<void> ModelLoader::layer_norms(const std::string& prefix, LayerWeights& layer) {
  const ModelConfig& config = model_.config_;
  const bool after = config.post_norm;
  KINGLET_CHECK(
      norm(prefix + (after ? "attn_output_norm" : "attn_norm"), layer.attention_norm, layer.attention_norm_bias));
  KINGLET_CHECK(
      norm(prefix + (after ? "layer_output_norm" : "ffn_norm"), layer.feed_forward_norm, layer.feed_forward_norm_bias));
  if (config.sandwich_norm) {
    KINGLET_CHECK(vector(prefix + "post_attention_norm.weight", config.width, layer.post_attention_norm));
    KINGLET_CHECK(vector(prefix + "post_ffw_norm.weight", config.width, layer.post_feed_forward_norm));
  }
  if (config.qk_norm) {
    KINGLET_CHECK(vector(prefix + "attn_q_norm.weight", config.key_length, layer.query_norm));
    KINGLET_CHECK(vector(prefix + "attn_k_norm.weight", config.key_length, layer.key_norm));
  }
  return {};
}

Result<void> ModelLoader::layer_matrices(const std::string& prefix, const LayerConfig& sizes, LayerWeights& layer) {
  const ModelConfig& config = model_.config_;
  const std::int64_t attended = sizes.heads * config.value_length;
  KINGLET_CHECK(matrix(prefix + "attn_q.weight", sizes.heads * config.key_length, config.width, layer.query));
  KINGLET_CHECK(matrix(prefix + "attn_k.weight", sizes.kv_heads * config.key_length, config.width, layer.key));
  KINGLET_CHECK(matrix(prefix + "attn_v.weight", sizes.kv_heads * config.value_length, config.width, layer.value));
  KINGLET_CHECK(matrix(prefix + "attn_output.weight", config.width, attended, layer.output));
  if (config.gated) KINGLET_CHECK(matrix(prefix + "ffn_gate.weight", sizes.feed_forward, config.width, layer.gate));
  KINGLET_CHECK(matrix(prefix + "ffn_up.weight", sizes.feed_forward, config.width, layer.up));
  return matrix(prefix + "ffn_down.weight", config.width, sizes.feed_forward, layer.down);
}

/// The layer multiplies with the very matrices of one before it.
Result<void> ModelLoader::share_matrices(int index, int owner) {
  const LayerConfig& mine = model_.config_.per_layer[std::size_t(index)];
  const LayerConfig& other = model_.config_.per_layer[std::size_t(owner)];
  const std::string says =
      "layers " + std::to_string(owner) + " and " + std::to_string(index) + " share matrices, but ";
  if (mine.heads != other.heads || mine.kv_heads != other.kv_heads || mine.feed_forward != other.feed_forward) {
    return fail(ErrorCode::kCorrupt, says + "differ in size");
  }
  for (std::string_view kind : kLayerMatrixKinds) {
    const std::string name = layer_matrix_name(index, kind);
    if (checkpoint_.find(name) != nullptr || checkpoint_.find(name + ".0") != nullptr) {
      return fail(ErrorCode::kCorrupt, says + "there is " + name);
    }
  }
  LayerWeights& layer = model_.layers[std::size_t(index)];
  for (std::string_view kind : kLayerMatrixKinds) {
    layer.matrix(kind) = model_.layers[std::size_t(owner)].matrix(kind);
  }
  return {};
}

Result<void> ModelLoader::layer(int index) {
  const ModelConfig& config = model_.config_;
  const LayerConfig& sizes = config.per_layer[std::size_t(index)];
  const std::string prefix = "blk." + std::to_string(index) + ".";
  LayerWeights& layer = model_.layers.emplace_back();
  KINGLET_CHECK(layer_norms(prefix, layer));
  const int owner = config.owner(index);
  KINGLET_CHECK(owner == index ? layer_matrices(prefix, sizes, layer) : share_matrices(index, owner));
  KINGLET_CHECK(optional_vector(prefix + "attn_q.bias", sizes.heads * config.key_length, layer.query_bias));
  KINGLET_CHECK(optional_vector(prefix + "attn_k.bias", sizes.kv_heads * config.key_length, layer.key_bias));
  KINGLET_CHECK(optional_vector(prefix + "attn_v.bias", sizes.kv_heads * config.value_length, layer.value_bias));
  KINGLET_CHECK(optional_vector(prefix + "attn_output.bias", config.width, layer.output_bias));
  KINGLET_CHECK(optional_vector(prefix + "ffn_gate.bias", sizes.feed_forward, layer.gate_bias));
  KINGLET_CHECK(optional_vector(prefix + "ffn_up.bias", sizes.feed_forward, layer.up_bias));
  KINGLET_CHECK(optional_vector(prefix + "ffn_down.bias", config.width, layer.down_bias));
  return {};
}

Result<void> ModelLoader::find_weights() {
  ModelConfig& config = model_.config_;
  KINGLET_TRY(config.layer_owner, layer_map(checkpoint_.metadata(), config.layers));
  model_.layers.reserve(std::size_t(config.layers));
  for (current_layer_ = 0; current_layer_ < config.layers; ++current_layer_) KINGLET_CHECK(layer(current_layer_));
  current_layer_ = -1;
  if (!config.post_norm) KINGLET_CHECK(norm("output_norm", model_.output_norm, model_.output_norm_bias));
  if (config.embedding_norm) {
    KINGLET_CHECK(norm("token_embd_norm", model_.embedding_norm, model_.embedding_norm_bias));
  }
  if (config.position_embedding) {
    KINGLET_CHECK(matrix("position_embd.weight", config.context, config.width, model_.position_embedding));
  }
  if (config.token_type_embedding) {
    const TensorInfo* types = checkpoint_.find("token_types.weight");
    KINGLET_CHECK(matrix("token_types.weight", types == nullptr ? 2 : types->rows(), config.width, model_.token_types));
  }
  KINGLET_CHECK(matrix("token_embd.weight", config.vocabulary, config.width, model_.embedding));
  if (checkpoint_.find("output.weight") != nullptr) {
    // An embedding that is no head is only read by row: it stays in the file.
    slots_.resize(slots_.size() - packed_parts(*model_.embedding).size());
    KINGLET_CHECK(matrix("output.weight", config.vocabulary, config.width, model_.head));
  }
  if (checkpoint_.find("rope_freqs.weight") != nullptr) {
    KINGLET_CHECK(vector("rope_freqs.weight", config.rope_dimensions / 2, config.rope_factors));
  }
  KINGLET_TRY(const auto factored, factored_matrices(checkpoint_.metadata()));
  if (factored.size() != factored_) {
    return fail(ErrorCode::kCorrupt, std::string(kFactorsKey) + " names " + std::to_string(factored.size()) +
                                         " matrices, the model has " + std::to_string(factored_) + " of them");
  }
  return {};
}

Result<void> ModelLoader::check_memory() const {
  std::uint64_t needed = 0;
  for (const Slot& slot : slots_) needed += slot.linear->bytes();
  if (weight_memory_ > 0) needed = std::min(needed, weight_memory_);
  const std::uint64_t available = available_memory();
  if (available != 0 && needed > available) {
    return fail(ErrorCode::kExhausted,
                "the weights need " + std::to_string(needed >> 20) + " MiB, and " + std::to_string(available >> 20) +
                    " MiB of memory are available",
                "Close other programs, or convert the model to a smaller type.");
  }
  return {};
}

/// Piece by piece, dropping the file's pages behind it: file and packed copy are never both in memory.
void ModelLoader::pack_share(const Slot& slot, TileRange range, std::byte* to) const {
  if (slot.tensor == nullptr) return slot.linear->pack(range, to);
  constexpr std::uint64_t kPiece = 2 << 20;
  const std::uint64_t tile_bytes = slot.tensor->bytes / std::uint64_t(slot.tensor->rows()) * kTileRows;
  const std::int64_t step = std::int64_t(std::max<std::uint64_t>(1, kPiece / std::max<std::uint64_t>(1, tile_bytes)));
  for (std::int64_t begin = range.begin; begin < range.end; begin += step) {
    const TileRange piece{begin, std::min(begin + step, range.end)};
    slot.linear->pack(piece, to);
    to += slot.linear->packed_bytes(piece);
    checkpoint_.release(*slot.tensor, std::uint64_t(piece.begin) * tile_bytes, std::uint64_t(piece.end) * tile_bytes);
  }
}

/// The same through a small buffer into the file of the layers that do not stay in memory.
Result<void> ModelLoader::stream_share(const Slot& slot, TileRange range, std::size_t offset) const {
  constexpr std::size_t kPiece = 2 << 20;
  const std::size_t tile = std::max<std::size_t>(1, slot.linear->packed_bytes({0, 1}));
  const std::int64_t step = std::max<std::int64_t>(1, static_cast<std::int64_t>(kPiece / tile));
  const std::uint64_t source =
      slot.tensor == nullptr ? 0 : slot.tensor->bytes / std::uint64_t(slot.tensor->rows()) * kTileRows;
  std::vector<std::byte> buffer;
  for (std::int64_t begin = range.begin; begin < range.end; begin += step) {
    const TileRange piece{begin, std::min(begin + step, range.end)};
    buffer.resize(slot.linear->packed_bytes(piece));
    slot.linear->pack(piece, buffer.data());
    KINGLET_CHECK(ring_->write(slot.layer, offset, buffer));
    offset += buffer.size();
    if (slot.tensor != nullptr)
      checkpoint_.release(*slot.tensor, std::uint64_t(piece.begin) * source, std::uint64_t(piece.end) * source);
  }
  return {};
}

std::size_t ModelLoader::slot_bytes(const Slot& slot) const {
  const int threads = model_.pool_->size();
  std::size_t bytes = 0;
  for (int t = 0; t < threads; ++t)
    bytes += Model::Arena::aligned(slot.linear->packed_bytes(share_of(slot.linear->tiles(), t, threads)));
  return bytes;
}

Result<ModelLoader::Division> ModelLoader::divide() const {
  std::vector<std::size_t> layers(std::size_t(model_.config_.layers), 0);
  std::uint64_t fixed = 0, total = 0;
  for (const Slot& slot : slots_) {
    const std::size_t bytes = slot_bytes(slot);
    total += bytes;
    if (slot.layer < 0)
      fixed += bytes;
    else
      layers[std::size_t(slot.layer)] += bytes;
  }
  Division division{.first = int(layers.size()), .buffers = 0, .resident = total, .streamed = {}};
  if (weight_memory_ == 0 || total <= weight_memory_) return division;
  const std::size_t largest = LayerRing::buffer_bytes(*std::ranges::max_element(layers));
  for (int buffers = 2; buffers > 0; --buffers) {
    const std::uint64_t least = fixed + std::uint64_t(buffers) * largest;
    if (least > weight_memory_) continue;
    division = {.first = 0, .buffers = buffers, .resident = fixed, .streamed = {}};
    while (division.first < int(layers.size()) &&
           least + division.resident - fixed + layers[std::size_t(division.first)] <= weight_memory_)
      division.resident += layers[std::size_t(division.first++)];
    division.streamed.assign(layers.begin() + division.first, layers.end());
    return division;
  }
  return fail(ErrorCode::kExhausted,
              "the weights cannot do with " + std::to_string(weight_memory_) +
                  " bytes: one layer and what is no layer need " + std::to_string(fixed + largest),
              "Give at least " + std::to_string((fixed + largest + 999999) / 1000000) + " MB.");
}

Result<void> ModelLoader::pack() {
  const int threads = model_.pool_->size();
  KINGLET_TRY(const Division division, divide());
  if (!division.streamed.empty()) {
    KINGLET_TRY(ring_, LayerRing::create(division.first, division.streamed, division.buffers, division.resident));
    model_.stream_ = ring_;
  }
  const auto streams = [&](const Slot& slot) { return slot.layer >= division.first; };
  std::vector<std::size_t> sizes(std::size_t(threads), 0);
  for (const Slot& slot : slots_) {
    for (int t = 0; t < threads && !streams(slot); ++t) {
      sizes[std::size_t(t)] +=
          Model::Arena::aligned(slot.linear->packed_bytes(share_of(slot.linear->tiles(), t, threads)));
    }
  }
  KINGLET_TRY(model_.arena_->memory, Model::Arena::allocate(sizes));

  std::vector<std::vector<Linear::Share>> shares(slots_.size());
  for (auto& each : shares) each.resize(std::size_t(threads));
  std::vector<Result<void>> done{std::size_t(threads)};
  const auto pack_part = [&](int t) {
    std::byte* to = model_.arena_->memory[std::size_t(t)].data();
    std::size_t offset = 0;  // of the slot in its streamed layer
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      const Linear& linear = *slot.linear;
      const TileRange range = share_of(linear.tiles(), t, threads);
      if (!streams(slot)) {
        shares[i][std::size_t(t)] = {range, to};
        pack_share(slot, range, to);
        to += Model::Arena::aligned(linear.packed_bytes(range));
        continue;
      }
      if (i == 0 || slots_[i - 1].layer != slot.layer) offset = 0;
      std::size_t own = offset;
      for (int before = 0; before < t; ++before)
        own += Model::Arena::aligned(linear.packed_bytes(share_of(linear.tiles(), before, threads)));
      shares[i][std::size_t(t)] = {range, ring_->address(slot.layer, own)};
      if (auto& mine = done[std::size_t(t)]; mine) mine = stream_share(slot, range, own);
      offset += slot_bytes(slot);
    }
  };
  std::atomic<bool> exhausted = false;
  model_.pool_->run([&](int t) {
    try {
      pack_part(t);
    } catch (const std::bad_alloc&) {  // from here it would end the program; a text of the error needs memory, too
      exhausted = true;
    }
  });
  if (exhausted) throw std::bad_alloc();
  for (const auto& each : done) KINGLET_CHECK(each);
  if (ring_) KINGLET_CHECK(ring_->start());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Linear& linear = *slots_[i].linear;
    linear.adopt(shares[i]);
    model_.weight_bytes_ += linear.bytes();
  }
  model_.bytes_per_token_ = model_.weight_bytes_;
  for (const auto* unread : {&model_.position_embedding, &model_.token_types}) {
    if (*unread) model_.bytes_per_token_ -= (*unread)->bytes();
  }
  return {};
}

}  // namespace kinglet
