#include "engine/forward.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/fetch.h"
#include "engine/linear_stages.h"
#include "kinglet/weight_stream.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

const Vector kNoBias;

/// A thread asks ahead for this many rows that others have a part in: more would push each other out of its cache.
constexpr std::int64_t kFetchedRows = 8;

TileRange tile_share(std::int64_t tiles, int thread, int threads) {
  return {tiles * thread / threads, tiles * (thread + 1) / threads};
}

void normalise(const ModelConfig& config, const float* x, const Vector& weight, const Vector& bias, float* out) {
  const std::int64_t n = std::int64_t(weight.size());
  if (config.norm == NormKind::kLayer) {
    elementwise().layer_norm(x, weight.data(), bias.empty() ? nullptr : bias.data(), n, float(config.norm_epsilon),
                             out);
  } else {
    elementwise().rms_norm(x, weight.data(), n, float(config.norm_epsilon), out);
  }
}

bool is_int8(const Linear* linear) { return linear != nullptr && linear->input_format() == InputFormat::kInt8; }

}  // namespace

ForwardPass::ForwardPass(const ForwardContext& context, const ForwardCall& call)
    : model_(context.model),
      config_(context.model.config()),
      rope_(context.rope),
      space_(context.workspace),
      pool_(context.model.pool()),
      call_(call),
      attention_(context.attention),
      threads_(context.model.threads()),
      rows_(int(call.rows.size())),
      max_rows_(context.max_rows),
      width_(std::size_t(context.model.config().width)),
      all_(space_.all),
      active_(space_.active),
      place_(space_.place),
      positions_(space_.positions) {
  space_.shared.hidden = call.hidden;
  all_.resize(call.rows.size());
  std::iota(all_.begin(), all_.end(), 0);
  active_ = all_;
  place_ = all_;
  positions_.resize(call.rows.size());
  for (std::size_t i = 0; i < positions_.size(); ++i) positions_[i] = call.rows[i].position;
}

void ForwardPass::run() {
  const int end = call_.layer_end < 0 ? int(config_.layers) : call_.layer_end;
  pool_.run([&](int thread) { fill_rope(thread); });
  if (call_.hooks == nullptr) {
    run_plainly(call_.layer_begin, end);
  } else {
    run_with_hooks(call_.layer_begin, end);
  }
}

void ForwardPass::run_plainly(int first, int last) {
  pool_.run([&](int thread) {
    Pending pending;
    load_rows(thread);
    for (int index = first; index < last; ++index) {
      attention_half(thread, index, pending);
      feed_forward_half(thread, index, after_attention(index));
      pending = after_feed_forward(index);
    }
    store_rows(thread, pending);
  });
}

/// Each half of a layer is its own region, so that the caller's thread can look at the rows between.
void ForwardPass::run_with_hooks(int first, int last) {
  for (int index = first; index < last; ++index) {
    pool_.run([&](int thread) {
      load_rows(thread);
      attention_half(thread, index, {});
      store_rows(thread, after_attention(index));
    });
    ask_which_rows_run(index);
    if (!active_.empty()) {
      pool_.run([&](int thread) {
        load_rows(thread);
        feed_forward_half(thread, index, {});
        store_rows(thread, after_feed_forward(index));
      });
    } else if (WeightStream* stream = model_.stream()) {
      pool_.run([&](int) { stream->release(config_.owner(index)); });
    }
    if (call_.hooks->after_layer) {
      call_.hooks->after_layer(index, std::span<float>(call_.hidden, std::size_t(rows_) * width_));
    }
  }
}

void ForwardPass::ask_which_rows_run(int index) {
  if (!call_.hooks->feed_forward) return;
  std::vector<std::uint8_t> runs(std::size_t(rows_), 1);
  call_.hooks->feed_forward(index, std::span<const float>(call_.hidden, std::size_t(rows_) * width_), runs);
  active_.clear();
  for (std::int32_t row = 0; row < rows_; ++row) {
    const bool run = runs[std::size_t(row)] != 0;
    place_[std::size_t(row)] = run ? std::int32_t(active_.size()) : -1;
    if (run) active_.push_back(row);
  }
}

void ForwardPass::fill_rope(int thread) {
  if (config_.rope == RopeKind::kNone) return;
  const WorkShare share = work_share(rows_, thread, threads_);
  rope_.fill(positions_, attention_.slot_positions(), std::size_t(share.begin), std::size_t(share.end),
             std::size_t(max_rows_), space_.cosines, space_.sines);
}

void ForwardPass::load_rows(int thread) {
  if (!is_private()) return;
  std::memcpy(buffers(thread).hidden, call_.hidden, std::size_t(rows_) * width_ * sizeof(float));
}

void ForwardPass::store_rows(int thread, const Pending& pending) {
  const WorkShare share = row_share(thread, rows_);
  for (std::int64_t row = share.begin; row < share.end; ++row) add_pending(pending, std::int32_t(row), buffers(thread));
  if (is_private() && thread == 0) {
    std::memcpy(call_.hidden, buffers(0).hidden, std::size_t(rows_) * width_ * sizeof(float));
  }
}

ForwardPass::Pending ForwardPass::after_attention(int index) const {
  const LayerWeights& layer = model_.layers[std::size_t(index)];
  Pending pending{.any = true};
  if (config_.sandwich_norm) pending.post_norm = &layer.post_attention_norm;
  if (config_.post_norm) pending.norm = &layer.attention_norm, pending.norm_bias = &layer.attention_norm_bias;
  return pending;
}

ForwardPass::Pending ForwardPass::after_feed_forward(int index) const {
  const LayerWeights& layer = model_.layers[std::size_t(index)];
  Pending pending{.place = place_.data(), .any = true};
  if (config_.sandwich_norm) pending.post_norm = &layer.post_feed_forward_norm;
  if (config_.post_norm) pending.norm = &layer.feed_forward_norm, pending.norm_bias = &layer.feed_forward_norm_bias;
  return pending;
}

void ForwardPass::add_pending(const Pending& pending, std::int32_t row, const RowBuffers& rows) {
  if (!pending.any) return;
  const std::int32_t place = pending.place == nullptr ? row : pending.place[row];
  if (place < 0) return;
  float* hidden = rows.hidden + std::size_t(row) * width_;
  const float* product = space_.projected + std::size_t(place) * width_;
  if (pending.post_norm != nullptr) {
    float* normed = rows.normed + std::size_t(row) * width_;
    normalise(config_, product, *pending.post_norm, kNoBias, normed);
    product = normed;
  }
  elementwise().add(hidden, product, std::int64_t(width_), hidden);
  if (pending.norm != nullptr) normalise(config_, hidden, *pending.norm, *pending.norm_bias, hidden);
}

/// Adds what is pending, normalises, and rounds where a reader wants int8: the input of the next products, row i being
/// rows[i] of the call. All threads may read it on return.
LinearInput ForwardPass::prepare(int thread, const Pending& pending, Norm norm, std::span<const std::int32_t> rows,
                                 bool wants_int8) {
  const RowBuffers& own = buffers(thread);
  const int count = int(rows.size());
  const std::size_t stride = wants_int8 ? quantized_row_bytes(std::int64_t(width_)) : 0;
  const WorkShare share = row_share(thread, count);
  if (pending.any && share.end - share.begin <= kFetchedRows) {
    for (std::int64_t i = share.begin; i < share.end; ++i) {
      const std::size_t row = std::size_t(rows[std::size_t(i)]);
      if (place_[row] >= 0) fetch_ahead(space_.projected + std::size_t(place_[row]) * width_, width_ * sizeof(float));
      fetch_ahead(own.hidden + row * width_, width_ * sizeof(float));
    }
  }
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int32_t row = rows[std::size_t(i)];
    add_pending(pending, row, own);
    const float* hidden = own.hidden + std::size_t(row) * width_;
    float* normed = own.normed + std::size_t(i) * width_;
    if (norm.weight != nullptr) {
      normalise(config_, hidden, *norm.weight, *norm.bias, normed);
    } else {
      std::memcpy(normed, hidden, width_ * sizeof(float));
    }
    if (wants_int8) quantize_row(normed, std::int64_t(width_), own.quantized + std::size_t(i) * stride);
  }
  meet_unless_private();
  return {.values = own.normed,
          .value_stride = width_,
          .quantized = own.quantized,
          .quantized_stride = stride,
          .rows = count};
}

/// The same for a product's input that is no hidden row: attended values, activated feed-forward.
LinearInput ForwardPass::quantize(int thread, const float* values, std::size_t columns, int rows,
                                  const Linear& reader) {
  LinearInput x{.values = values, .value_stride = columns, .rows = rows};
  if (!is_int8(&reader)) return x;
  x.quantized = buffers(thread).quantized;
  x.quantized_stride = quantized_row_bytes(std::int64_t(columns));
  const WorkShare share = row_share(thread, rows);
  if (share.end - share.begin <= kFetchedRows) {
    fetch_ahead(values + std::size_t(share.begin) * columns,
                std::size_t(share.end - share.begin) * columns * sizeof(float));
  }
  for (std::int64_t row = share.begin; row < share.end; ++row) {
    quantize_row(values + std::size_t(row) * columns, std::int64_t(columns),
                 buffers(thread).quantized + std::size_t(row) * x.quantized_stride);
  }
  meet_unless_private();
  return x;
}

void ForwardPass::multiply(int thread, const Linear& linear, const LinearInput& x, float* y, const Vector& bias) {
  if (thread == 0) weights_read_ += linear.bytes();
  const LinearInput last = linear.stages() > 1 ? run_inner_stages(linear, x, space_, pool_, thread) : x;
  const TileRange tiles = tile_share(linear.tiles(), thread, threads_);
  if (tiles.count() == 0) return;
  const std::size_t stride = std::size_t(linear.outputs());
  linear.multiply(linear.stages() - 1, last, tiles, y, stride);
  if (bias.empty()) return;
  const std::int64_t begin = tiles.begin * kTileRows;
  const std::int64_t count = std::min(tiles.end * kTileRows, linear.outputs()) - begin;
  for (int row = 0; row < x.rows; ++row) {
    float* part = y + std::size_t(row) * stride + begin;
    elementwise().add(part, bias.data() + begin, count, part);
  }
}

void ForwardPass::attention_half(int thread, int index, const Pending& pending) {
  const LayerWeights& layer = model_.layers[std::size_t(index)];
  if (WeightStream* stream = model_.stream()) stream->acquire(config_.owner(index));
  Norm norm;
  if (!config_.post_norm) norm = {&layer.attention_norm, &layer.attention_norm_bias};
  const bool int8 = is_int8(layer.query.get()) || is_int8(layer.key.get()) || is_int8(layer.value.get());
  const LinearInput x = prepare(thread, pending, norm, all_, int8);
  show_input(thread, index, TapPoint::kAttentionInput, x);
  multiply(thread, *layer.query, x, space_.query, layer.query_bias);
  attention_.fetch(index, thread);
  multiply(thread, *layer.key, x, space_.key, layer.key_bias);
  multiply(thread, *layer.value, x, space_.value, layer.value_bias);
  meet();
  rotate(thread, index);
  meet();
  attend(thread, index);
  meet();
  const std::size_t columns = std::size_t(layer.output->inputs());
  const LinearInput attended = quantize(thread, space_.attended, columns, rows_, *layer.output);
  show_input(thread, index, TapPoint::kAttended, attended);
  multiply(thread, *layer.output, attended, space_.projected, layer.output_bias);
  meet();
}

/// Norms a head and rotates it to its row's position, in place.
void ForwardPass::rotate_head(float* x, int row, const Vector& norm, int index, bool rope) {
  const std::int64_t half = config_.rope_dimensions / 2;
  const std::size_t kind = std::size_t(rope_.of_layer[std::size_t(index)]);
  const std::size_t at = (kind * std::size_t(max_rows_) + std::size_t(row)) * std::size_t(half);
  const ElementwiseKernels& kernels = elementwise();
  if (!norm.empty()) kernels.rms_norm(x, norm.data(), config_.key_length, float(config_.norm_epsilon), x);
  if (!rope) return;
  if (config_.rope == RopeKind::kPairs) kernels.rope_pairs(x, space_.cosines + at, space_.sines + at, half);
  if (config_.rope == RopeKind::kHalves) kernels.rope_halves(x, space_.cosines + at, space_.sines + at, half);
}

/// Queries, keys and values of rows [begin, end), whose halves other threads have made.
void ForwardPass::fetch_rows(std::int64_t begin, std::int64_t end, const LayerConfig& sizes) const {
  if (end - begin > kFetchedRows) return;
  const auto fetch = [=](const float* values, std::int64_t width) {
    fetch_ahead(values + begin * width, std::size_t((end - begin) * width) * sizeof(float));
  };
  fetch(space_.query, sizes.heads * config_.key_length);
  fetch(space_.key, sizes.kv_heads * config_.key_length);
  fetch(space_.value, sizes.kv_heads * config_.value_length);
}

/// Queries and keys of all rows, split between the threads by head.
void ForwardPass::rotate(int thread, int index) {
  const LayerConfig& sizes = config_.per_layer[std::size_t(index)];
  const LayerWeights& layer = model_.layers[std::size_t(index)];
  attention_.begin_items(thread);
  if (config_.rope == RopeKind::kNone && !config_.qk_norm) return;
  const std::int64_t heads = sizes.heads + sizes.kv_heads;
  const WorkShare share = work_share(rows_ * heads, thread, threads_);
  fetch_rows(share.begin / heads, (share.end + heads - 1) / heads, sizes);
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int64_t row = i / heads, head = i % heads;
    if (head < sizes.heads) {
      rotate_head(space_.query + (row * sizes.heads + head) * config_.key_length, int(row), layer.query_norm, index,
                  true);
    } else {
      float* key = space_.key + (row * sizes.kv_heads + head - sizes.heads) * config_.key_length;
      rotate_head(key, int(row), layer.key_norm, index, !attention_.rotates_keys(index));
    }
  }
}

void ForwardPass::attend(int thread, int index) {
  const WorkShare stores = work_share(attention_.store_items(index), thread, threads_);
  for (std::int64_t item = stores.begin; item < stores.end; ++item) {
    attention_.store(index, int(item), space_.key, space_.value);
  }
  meet();
  for (int item = attention_.next_item(index, thread); item >= 0; item = attention_.next_item(index, thread)) {
    attention_.attend(index, item, thread, space_.query, space_.attended);
  }
  if (call_.hooks == nullptr || !call_.hooks->attention) return;
  meet();
  if (thread == 0) show_attention(index);
}

void ForwardPass::show_attention(int index) {
  for (int head = 0; head < config_.per_layer[std::size_t(index)].heads; ++head) {
    call_.hooks->attention(index, head, attention_.weights(index, rows_ - 1, head, space_.query));
  }
}

void ForwardPass::feed_forward_half(int thread, int index, const Pending& pending) {
  const LayerWeights& layer = model_.layers[std::size_t(index)];
  Norm norm;
  if (!config_.post_norm) norm = {&layer.feed_forward_norm, &layer.feed_forward_norm_bias};
  const LinearInput x = prepare(thread, pending, norm, active_, is_int8(layer.up.get()) || is_int8(layer.gate.get()));
  show_input(thread, index, TapPoint::kFeedForwardInput, x);
  if (layer.gate) multiply(thread, *layer.gate, x, space_.gate, layer.gate_bias);
  multiply(thread, *layer.up, x, space_.up, layer.up_bias);
  activate(thread, *layer.up, x.rows);
  meet();
  const std::size_t columns = std::size_t(layer.up->outputs());
  const LinearInput activated = quantize(thread, space_.up, columns, x.rows, *layer.down);
  show_input(thread, index, TapPoint::kActivated, activated);
  multiply(thread, *layer.down, activated, space_.projected, layer.down_bias);
  meet();
  if (WeightStream* stream = model_.stream()) stream->release(config_.owner(index));
}

void ForwardPass::show_input(int thread, int index, TapPoint point, const LinearInput& x) const {
  if (thread != 0 || call_.hooks == nullptr || !call_.hooks->linear_input || x.rows == 0) return;
  call_.hooks->linear_input(index, point, {x.values, std::size_t(x.rows) * x.value_stride});
}

/// act(gate) * up, or act(up), in place of up, on the outputs that this thread has just made.
void ForwardPass::activate(int thread, const Linear& up, int rows) {
  const TileRange tiles = tile_share(up.tiles(), thread, threads_);
  const std::int64_t begin = tiles.begin * kTileRows;
  const std::int64_t count = std::min(tiles.end * kTileRows, up.outputs()) - begin;
  if (count <= 0) return;
  const ElementwiseKernels& kernels = elementwise();
  for (int row = 0; row < rows; ++row) {
    const std::size_t at = std::size_t(row) * std::size_t(up.outputs()) + std::size_t(begin);
    float* x = space_.up + at;
    if (config_.gated) {
      const float* gate = space_.gate + at;
      if (config_.activation == Activation::kSilu) kernels.silu_mul(gate, x, count, x);
      if (config_.activation == Activation::kGeluTanh) kernels.gelu_tanh_mul(gate, x, count, x);
      if (config_.activation == Activation::kGelu) kernels.gelu_mul(gate, x, count, x);
    } else {
      if (config_.activation == Activation::kSilu) kernels.silu(x, count, x);
      if (config_.activation == Activation::kGeluTanh) kernels.gelu_tanh(x, count, x);
      if (config_.activation == Activation::kGelu) kernels.gelu(x, count, x);
    }
  }
}

}  // namespace kinglet
