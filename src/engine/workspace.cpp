#include "engine/workspace.h"

#include <algorithm>

#include "base/try.h"
#include "engine/rope.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

struct Widths {
  std::size_t query = 0, key = 0, value = 0, attended = 0, feed_forward = 0, widest = 0, inner = 0;
};

void measure_linear(const std::shared_ptr<Linear>& linear, Widths& widths) {
  if (!linear) return;
  for (int stage = 0; stage + 1 < linear->stages(); ++stage) {
    widths.inner = std::max(widths.inner, std::size_t(linear->inner_outputs(stage)));
  }
}

Widths measure(const Model& model) {
  const ModelConfig& config = model.config();
  Widths widths;
  for (const LayerConfig& layer : config.per_layer) {
    widths.query = std::max(widths.query, std::size_t(layer.heads * config.key_length));
    widths.key = std::max(widths.key, std::size_t(layer.kv_heads * config.key_length));
    widths.value = std::max(widths.value, std::size_t(layer.kv_heads * config.value_length));
    widths.attended = std::max(widths.attended, std::size_t(layer.heads * config.value_length));
    widths.feed_forward = std::max(widths.feed_forward, std::size_t(layer.feed_forward));
  }
  widths.widest = std::max({std::size_t(config.width), widths.attended, widths.feed_forward});
  for (const LayerWeights& layer : model.layers) {
    for (const auto* linear :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down}) {
      measure_linear(*linear, widths);
    }
  }
  measure_linear(model.head, widths);
  measure_linear(model.embedding, widths);
  return widths;
}

/// Bytes that hold a quantized row of any width up to `widest`: a narrower one can take more than the widest, since
/// multiples of 4096 bytes are avoided.
std::size_t room_for_row(std::size_t widest) { return quantized_row_bytes(std::int64_t((widest + 31) / 32 * 32)) + 64; }

/// Hands out 64-byte aligned parts of one region; with a null base it only counts.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  std::byte* bytes(std::size_t count) {
    std::byte* part = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count + 127) / 128 * 128;  // two lines: the prefetcher fetches pairs
    return part;
  }
  float* floats(std::size_t count) { return reinterpret_cast<float*>(bytes(count * sizeof(float))); }
  std::size_t used() const { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

void carve(Carver& carver, const Model& model, const Widths& widths, std::size_t rows, Workspace& space) {
  const ModelConfig& config = model.config();
  const std::size_t width = std::size_t(config.width);
  space.widest = widths.widest;
  space.quantized_stride = room_for_row(widths.widest);
  space.query = carver.floats(rows * widths.query);
  space.key = carver.floats(rows * widths.key);
  space.value = carver.floats(rows * widths.value);
  space.attended = carver.floats(rows * widths.attended);
  space.projected = carver.floats(rows * width);
  space.gate = config.gated ? carver.floats(rows * widths.feed_forward) : nullptr;
  space.up = carver.floats(rows * widths.feed_forward);
  space.hidden = carver.floats(rows * width);
  space.inner = widths.inner > 0 ? carver.floats(rows * widths.inner) : nullptr;
  space.inner_quantized = widths.inner > 0 ? carver.bytes(rows * room_for_row(widths.inner)) : nullptr;
  const std::size_t table = rope_table_count(config) * rows * std::size_t(config.rope_dimensions / 2);
  space.cosines = carver.floats(table);
  space.sines = carver.floats(table);
  space.shared.normed = carver.floats(rows * width);
  space.shared.quantized = carver.bytes(rows * space.quantized_stride);
  space.own.resize(std::size_t(model.threads()));
  for (RowBuffers& own : space.own) {
    own.hidden = carver.floats(kPrivateRows * width);
    own.normed = carver.floats(kPrivateRows * width);
    own.quantized = carver.bytes(kPrivateRows * space.quantized_stride);
  }
}

}  // namespace

Result<Workspace> Workspace::create(const Model& model, int max_rows) {
  const Widths widths = measure(model);
  const std::size_t rows = std::size_t(std::max(max_rows, kPrivateRows));
  Workspace space;
  for (auto* list : {&space.all, &space.active, &space.place, &space.positions}) list->reserve(rows);
  Carver counter(nullptr);
  carve(counter, model, widths, rows, space);
  KINGLET_TRY(space.memory_, AlignedMemory::allocate(counter.used()));
  Carver carver(space.memory_.data());
  carve(carver, model, widths, rows, space);
  return space;
}

}  // namespace kinglet
