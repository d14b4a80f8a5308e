#include "engine/output_head.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/thread_pool.h"
#include "engine/linear_stages.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

/// The 16-row tiles that hold the allowed tokens, as ascending runs.
void find_tiles(std::span<const TokenId> allowed, std::int64_t all_tiles, std::vector<TileRange>& tiles) {
  tiles.clear();
  if (allowed.empty()) tiles.push_back({0, all_tiles});
  for (TokenId id : allowed) {
    const std::int64_t tile = id / kTileRows;
    if (tiles.empty() || tiles.back().end < tile) {
      tiles.push_back({tile, tile + 1});
    } else {
      tiles.back().end = tile + 1;
    }
  }
}

}  // namespace

OutputHead::OutputHead(const Model& model, Workspace& workspace) : model_(model), workspace_(workspace) {
  peaks_.resize(std::size_t(model.threads()));
  best_.reserve(kPeakRows);
}

void OutputHead::norm(float* hidden, int rows) const {
  if (model_.output_norm.empty()) return;
  const ModelConfig& config = model_.config();
  for (int row = 0; row < rows; ++row) {
    float* x = hidden + std::size_t(row) * std::size_t(config.width);
    const float epsilon = float(config.norm_epsilon);
    if (config.norm == NormKind::kLayer) {
      elementwise().layer_norm(x, model_.output_norm.data(), model_.output_norm_bias.data(), config.width, epsilon, x);
    } else {
      elementwise().rms_norm(x, model_.output_norm.data(), config.width, epsilon, x);
    }
  }
}

Result<std::uint64_t> OutputHead::run(const float* hidden, int rows, int max_rows, std::span<const TokenId> allowed,
                                      float* logits) {
  const std::size_t width = std::size_t(model_.config().width), vocabulary = std::size_t(model_.config().vocabulary);
  forget_best();
  for (TokenId id : allowed) {
    if (id < 0 || std::size_t(id) >= vocabulary) {
      return fail(ErrorCode::kInvalidArgument,
                  "the allowed token id " + std::to_string(id) + " is not in the vocabulary");
    }
  }
  find_tiles(allowed, model_.output_head().tiles(), tiles_);
  std::uint64_t read = 0;
  for (int row = 0; row < rows; row += max_rows) {
    const int count = std::min(rows - row, max_rows);
    const float* chunk = hidden + std::size_t(row) * width;
    if (allowed.empty()) {
      const bool notes_peaks = count == rows && rows <= kPeakRows;
      read += run_chunk(chunk, count, logits + std::size_t(row) * vocabulary, notes_peaks);
      if (notes_peaks) find_best(rows);
      continue;
    }
    all_logits_.resize(std::max(all_logits_.size(), std::size_t(count) * vocabulary));
    read += run_chunk(chunk, count, all_logits_.data(), false);
    for (int i = 0; i < count; ++i) {
      float* to = logits + std::size_t(row + i) * allowed.size();
      for (std::size_t k = 0; k < allowed.size(); ++k)
        to[k] = all_logits_[std::size_t(i) * vocabulary + std::size_t(allowed[k])];
    }
  }
  return read;
}

/// logits [rows, vocabulary]: only the outputs of tiles_ are written. Peaks are noted where the tiles are one run.
std::uint64_t OutputHead::run_chunk(const float* hidden, int rows, float* logits, bool notes_peaks) {
  const Linear& head = model_.output_head();
  std::int64_t total = 0;
  for (const TileRange& range : tiles_) total += range.count();
  ThreadPool& pool = model_.pool();
  pool.run([&](int thread) {
    const LinearInput input = prepare(hidden, rows, thread);
    Peaks* peaks = notes_peaks ? &peaks_[std::size_t(thread)] : nullptr;
    if (peaks != nullptr) peaks->logit.fill(-std::numeric_limits<float>::infinity());
    // Each thread takes its share of the tiles counted over all runs.
    const WorkShare mine{total * thread / pool.size(), total * (thread + 1) / pool.size()};
    std::int64_t passed = 0;
    for (const TileRange& range : tiles_) {
      const std::int64_t begin = std::max(range.begin, range.begin + mine.begin - passed);
      const std::int64_t end = std::min(range.end, range.begin + mine.end - passed);
      passed += range.count();
      if (begin < end) multiply(input, {begin, end}, logits, peaks);
    }
  });
  return head.bytes() * std::uint64_t(total) / std::uint64_t(head.tiles());
}

/// The normed rows as the matrix reads them.
LinearInput OutputHead::prepare(const float* hidden, int rows, int thread) {
  const Linear& head = model_.output_head();
  const std::size_t width = std::size_t(model_.config().width);
  const bool is_int8 = head.input_format() == InputFormat::kInt8;
  const std::size_t quantized_stride = is_int8 ? quantized_row_bytes(model_.config().width) : 0;
  ThreadPool& pool = model_.pool();
  const bool is_private = rows <= kPrivateRows;
  const RowBuffers& own = is_private ? workspace_.own[std::size_t(thread)] : workspace_.shared;
  const WorkShare share = is_private ? WorkShare{0, rows} : work_share(rows, thread, pool.size());
  for (std::int64_t row = share.begin; row < share.end; ++row) {
    float* x = own.normed + std::size_t(row) * width;
    std::memcpy(x, hidden + std::size_t(row) * width, width * sizeof(float));
    norm(x, 1);
    if (is_int8) quantize_row(x, model_.config().width, own.quantized + std::size_t(row) * quantized_stride);
  }
  if (!is_private) pool.barrier();
  const LinearInput input{.values = own.normed,
                          .value_stride = width,
                          .quantized = own.quantized,
                          .quantized_stride = quantized_stride,
                          .rows = rows};
  return head.stages() > 1 ? run_inner_stages(head, input, workspace_, pool, thread) : input;
}

void OutputHead::multiply(const LinearInput& input, TileRange tiles, float* logits, Peaks* peaks) const {
  const Linear& head = model_.output_head();
  const std::size_t stride = std::size_t(model_.config().vocabulary);
  head.multiply(head.stages() - 1, input, tiles, logits, stride);
  const float cap = float(model_.config().logit_softcap);
  const std::int64_t begin = tiles.begin * kTileRows;
  const std::int64_t count = std::min(tiles.end * kTileRows, head.outputs()) - begin;
  for (int row = 0; row < input.rows; ++row) {
    float* part = logits + std::size_t(row) * stride + begin;
    if (cap != 0) elementwise().softcap(part, cap, count, part);
    if (peaks == nullptr) continue;
    const std::int64_t best = elementwise().arg_max(part, count);
    peaks->logit[std::size_t(row)] = part[best];
    peaks->id[std::size_t(row)] = TokenId(begin + best);
  }
}

/// The threads' parts ascend, so that the first of equal peaks has the lowest id. NaN is above nothing.
void OutputHead::find_best(int rows) {
  for (std::size_t row = 0; row < std::size_t(rows); ++row) {
    float highest = -std::numeric_limits<float>::infinity();
    TokenId best = -1;
    for (const Peaks& peaks : peaks_)
      if (peaks.logit[row] > highest) highest = peaks.logit[row], best = peaks.id[row];
    best_.push_back(best);
  }
}

}  // namespace kinglet
