#include "kinglet/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "base/try.h"
#include "engine/attention.h"
#include "engine/cache/sequence_cache.h"
#include "engine/forward.h"
#include "engine/linear_stages.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

class ModelEngine final : public Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, EngineOptions options);

  const Model& model() const override { return *model_; }
  const EngineOptions& options() const override { return options_; }
  Result<std::unique_ptr<Sequence>> new_sequence() override;
  Result<void> embed(std::span<const TokenId> ids, std::span<const std::int32_t> positions, float* hidden) override;
  Result<void> forward(const ForwardCall& call) override;
  Result<void> head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) override;
  void final_norm(float* hidden, int rows) override;
  Result<void> step(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                    float* logits) override;
  std::uint64_t workspace_bytes() const override { return workspace_.bytes(); }
  std::uint64_t cache_bytes() const override { return store_->bytes_in_use(); }

 private:
  ModelEngine(std::shared_ptr<const Model> model, EngineOptions options, Workspace workspace)
      : model_(std::move(model)), options_(options), rope_(model_->config()), workspace_(std::move(workspace)) {}
  std::size_t width() const { return std::size_t(model_->config().width); }
  Result<void> check_call(const ForwardCall& call) const;
  Result<void> step_chunk(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                          std::int32_t offset, float* logits);
  void head_chunk(const float* hidden, int rows, std::span<const TileRange> tiles, float* logits);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  RopeTables rope_;
  Workspace workspace_;
  std::shared_ptr<PagedStore> store_;
  std::vector<float> all_logits_;   ///< whole rows, where only some of the head is asked for
  std::vector<float> wanted_rows_;  ///< hidden rows whose logits a step wants
};

Result<void> ModelEngine::embed(std::span<const TokenId> ids, std::span<const std::int32_t> positions, float* hidden) {
  const ModelConfig& config = model_->config();
  for (TokenId id : ids) {
    if (id < 0 || id >= config.vocabulary) {
      return fail(ErrorCode::kInvalidArgument, "the token id " + std::to_string(id) + " is not in the vocabulary of " +
                                                   std::to_string(config.vocabulary) + " tokens");
    }
  }
  model_->embedding->gather(ids, hidden);
  const std::int64_t n = config.width;
  const ElementwiseKernels& kernels = elementwise();
  std::vector<float> added;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    float* row = hidden + i * width();
    if (config.embedding_scale != 1) kernels.scale(row, float(config.embedding_scale), n, row);
    const auto add = [&](const Linear& table, std::int32_t index) {
      added.resize(width());
      table.gather({&index, 1}, added.data());
      kernels.add(row, added.data(), n, row);
    };
    // All of a text is of type 0: Kinglet embeds single texts, not pairs.
    if (config.token_type_embedding) add(*model_->token_types, 0);
    if (config.position_embedding) add(*model_->position_embedding, positions[i]);
    if (config.embedding_norm) {
      kernels.layer_norm(row, model_->embedding_norm.data(), model_->embedding_norm_bias.data(), n,
                         float(config.norm_epsilon), row);
    }
  }
  return {};
}

void ModelEngine::final_norm(float* hidden, int rows) {
  const Model& model = *model_;
  if (model.output_norm.empty()) return;
  for (int row = 0; row < rows; ++row) {
    float* x = hidden + std::size_t(row) * width();
    const float epsilon = float(model.config().norm_epsilon);
    if (model.config().norm == NormKind::kLayer) {
      elementwise().layer_norm(x, model.output_norm.data(), model.output_norm_bias.data(), model.config().width,
                               epsilon, x);
    } else {
      elementwise().rms_norm(x, model.output_norm.data(), model.config().width, epsilon, x);
    }
  }
}

/// The 16-row tiles that hold the allowed tokens, as ascending runs.
std::vector<TileRange> tiles_of(std::span<const TokenId> allowed, std::int64_t all_tiles) {
  std::vector<TileRange> tiles;
  if (allowed.empty()) tiles.push_back({0, all_tiles});
  for (TokenId id : allowed) {
    const std::int64_t tile = id / kTileRows;
    if (tiles.empty() || tiles.back().end < tile) {
      tiles.push_back({tile, tile + 1});
    } else {
      tiles.back().end = tile + 1;
    }
  }
  return tiles;
}

Result<void> ModelEngine::head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) {
  const std::size_t vocabulary = std::size_t(model_->config().vocabulary);
  for (TokenId id : allowed) {
    if (id < 0 || std::size_t(id) >= vocabulary) {
      return fail(ErrorCode::kInvalidArgument,
                  "the allowed token id " + std::to_string(id) + " is not in the vocabulary");
    }
  }
  const std::vector<TileRange> tiles = tiles_of(allowed, model_->output_head().tiles());
  for (int row = 0; row < rows; row += options_.max_rows) {
    const int count = std::min(rows - row, options_.max_rows);
    const float* chunk = hidden + std::size_t(row) * width();
    if (allowed.empty()) {
      head_chunk(chunk, count, tiles, logits + std::size_t(row) * vocabulary);
      continue;
    }
    all_logits_.resize(std::max(all_logits_.size(), std::size_t(count) * vocabulary));
    head_chunk(chunk, count, tiles, all_logits_.data());
    for (int i = 0; i < count; ++i) {
      float* to = logits + std::size_t(row + i) * allowed.size();
      for (std::size_t k = 0; k < allowed.size(); ++k) {
        to[k] = all_logits_[std::size_t(i) * vocabulary + std::size_t(allowed[k])];
      }
    }
  }
  return {};
}

/// logits [rows, vocabulary]: only the outputs of `tiles` are written.
void ModelEngine::head_chunk(const float* hidden, int rows, std::span<const TileRange> tiles, float* logits) {
  const Linear& head = model_->output_head();
  const std::size_t stride = std::size_t(model_->config().vocabulary);
  std::int64_t total = 0;
  for (const TileRange& range : tiles) total += range.count();
  const bool is_int8 = head.input_format() == InputFormat::kInt8;
  const std::size_t quantized_stride = is_int8 ? quantized_row_bytes(model_->config().width) : 0;
  ThreadPool& pool = model_->pool();
  pool.run([&](int thread) {
    const bool is_private = rows <= kPrivateRows;
    const RowBuffers& own = is_private ? workspace_.own[std::size_t(thread)] : workspace_.shared;
    const WorkShare share = is_private ? WorkShare{0, rows} : work_share(rows, thread, pool.size());
    for (std::int64_t row = share.begin; row < share.end; ++row) {
      float* x = own.normed + std::size_t(row) * width();
      std::memcpy(x, hidden + std::size_t(row) * width(), width() * sizeof(float));
      final_norm(x, 1);
      if (is_int8) {
        quantize_row(x, model_->config().width, own.quantized + std::size_t(row) * quantized_stride);
      }
    }
    if (!is_private) pool.barrier();
    LinearInput input{.values = own.normed,
                      .value_stride = width(),
                      .quantized = own.quantized,
                      .quantized_stride = quantized_stride,
                      .rows = rows};
    if (head.stages() > 1) input = run_inner_stages(head, input, workspace_, pool, thread);
    // Each thread takes its share of the tiles counted over all runs.
    const WorkShare mine{total * thread / pool.size(), total * (thread + 1) / pool.size()};
    std::int64_t passed = 0;
    for (const TileRange& range : tiles) {
      const std::int64_t begin = std::max(range.begin, range.begin + mine.begin - passed);
      const std::int64_t end = std::min(range.end, range.begin + mine.end - passed);
      passed += range.count();
      if (begin >= end) continue;
      head.multiply(head.stages() - 1, input, {begin, end}, logits, stride);
      const float cap = float(model_->config().logit_softcap);
      if (cap == 0) continue;
      const std::int64_t count = std::min(end * kTileRows, head.outputs()) - begin * kTileRows;
      for (int row = 0; row < rows; ++row) {
        float* part = logits + std::size_t(row) * stride + begin * kTileRows;
        elementwise().softcap(part, cap, count, part);
      }
    }
  });
}

Result<void> ModelEngine::step(std::span<const Row> rows, std::span<const TokenId> ids,
                               std::span<const std::int32_t> wanted, float* logits) {
  if (rows.size() != ids.size()) return fail(ErrorCode::kInternal, "step: rows and ids differ in number");
  std::size_t done = 0;  // of wanted
  for (std::size_t begin = 0; begin < rows.size(); begin += std::size_t(options_.max_rows)) {
    const std::size_t count = std::min(rows.size() - begin, std::size_t(options_.max_rows));
    std::size_t end = done;
    while (end < wanted.size() && std::size_t(wanted[end]) < begin + count) ++end;
    KINGLET_CHECK(step_chunk(rows.subspan(begin, count), ids.subspan(begin, count), wanted.subspan(done, end - done),
                             std::int32_t(begin), logits + done * std::size_t(model_->config().vocabulary)));
    done = end;
  }
  return {};
}

Result<void> ModelEngine::step_chunk(std::span<const Row> rows, std::span<const TokenId> ids,
                                     std::span<const std::int32_t> wanted, std::int32_t offset, float* logits) {
  std::vector<std::int32_t> positions;
  bool tree = false;
  for (const Row& row : rows) {
    positions.push_back(row.position);
    tree |= row.parent >= 0;
  }
  KINGLET_CHECK(embed(ids, positions, workspace_.hidden));
  KINGLET_CHECK(forward({.rows = rows, .hidden = workspace_.hidden, .tree = tree}));
  if (wanted.empty()) return {};
  wanted_rows_.resize(std::max(wanted_rows_.size(), wanted.size() * width()));
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    std::memcpy(wanted_rows_.data() + i * width(), workspace_.hidden + std::size_t(wanted[i] - offset) * width(),
                width() * sizeof(float));
  }
  return head(wanted_rows_.data(), int(wanted.size()), {}, logits);
}

}  // namespace
}  // namespace kinglet
