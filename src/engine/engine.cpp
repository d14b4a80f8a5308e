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
#include "engine/early_exit.h"
#include "engine/forward.h"
#include "engine/linear_stages.h"
#include "engine/skip_hooks.h"
#include "engine/token_pruner.h"
#include "kinglet/cache_policy.h"
#include "kinglet/weight_stream.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

/// A prompt must come in one call to be pruned.
constexpr std::int64_t kLazyRows = 2048;

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
      : model_(std::move(model)),
        options_(std::move(options)),
        rope_(model_->config()),
        workspace_(std::move(workspace)),
        skip_(width()) {}
  std::size_t width() const { return std::size_t(model_->config().width); }
  void take_key_biases();
  Result<void> check_call(const ForwardCall& call) const;
  Result<void> step_chunk(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                          std::int32_t offset, float* logits);
  void head_chunk(const float* hidden, int rows, std::span<const TileRange> tiles, float* logits);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  RopeTables rope_;
  Workspace workspace_;
  SkipHooks skip_;
  std::unique_ptr<TokenPruner> pruner_;
  bool prunes_ = false;  ///< a call of pruner_ is under way
  std::shared_ptr<PagedStore> store_;
  std::shared_ptr<const CacheConfig> cache_config_;
  std::unique_ptr<AttentionPlan> attention_;
  std::vector<float> all_logits_;  ///< whole rows, where only some of the head is asked for
  std::vector<TileRange> head_tiles_;
  std::vector<std::int32_t> positions_;
  std::vector<float> wanted_rows_;  ///< hidden rows whose logits a step wants
};

Result<std::unique_ptr<Engine>> ModelEngine::create(std::shared_ptr<const Model> model, EngineOptions options) {
  const ModelConfig& config = model->config();
  const auto is_full = [](const LayerConfig& layer) { return layer.sliding_window <= 0; };
  KINGLET_TRY(
      std::shared_ptr<const CachePolicy> policy,
      make_cache_policy(options.cache_policy, static_cast<int>(std::ranges::count_if(config.per_layer, is_full))));
  if (policy && (!config.causal || config.position_embedding))
    return fail(ErrorCode::kUnsupported, "this model's positions are not rotary, so no cache policy can move its keys",
                "Leave --cache-policy away.");
  // A policy that forgets has no end.
  if (options.context == 0) options.context = policy ? limits::kContext : config.context;
  if (options.context < 1 || options.context > limits::kContext) {
    return fail(ErrorCode::kInvalidArgument,
                "a context of " + std::to_string(options.context) + " tokens is out of range");
  }
  if (config.position_embedding) options.context = std::min(options.context, config.context);
  // An encoder sees a whole text in one call.
  if (!config.causal)
    options.max_rows = int(std::max<std::int64_t>(options.max_rows, std::min<std::int64_t>(options.context, 8192)));
  options.max_rows = std::clamp(options.max_rows, 1, 1 << 16);
  std::unique_ptr<TokenPruner> pruner;
  if (!options.lazy_prefill.empty()) {
    KINGLET_TRY(TokenPruning pruning, parse_token_pruning(options.lazy_prefill, int(config.layers)));
    if (policy || options.ffn_skip || !config.causal || !std::ranges::all_of(config.per_layer, is_full))
      return fail(ErrorCode::kUnsupported, "tokens can only be left out where every layer sees every position",
                  "Leave --lazy-prefill away, or --cache-policy and --ffn-skip.");
    pruner = std::make_unique<TokenPruner>(std::move(pruning), int(config.layers), std::size_t(config.width));
    options.max_rows = std::max(options.max_rows, int(std::min<std::int64_t>(options.context, kLazyRows)));
  }
  if (options.ffn_skip) KINGLET_CHECK(options.ffn_skip->check(config.layers));
  KINGLET_TRY(Workspace workspace, Workspace::create(*model, options.max_rows));
  std::unique_ptr<ModelEngine> engine(new ModelEngine(model, options, std::move(workspace)));
  engine->pruner_ = std::move(pruner);
  const KvStorage storage = kv_storage(options.cache);
  if (options.cache == CacheType::kInt4 && std::max(config.key_length, config.value_length) > kMostMixed)
    return fail(ErrorCode::kUnsupported,
                "heads of more than " + std::to_string(kMostMixed) + " values cannot be kept in 4 bits",
                "Use --cache int8.");
  KINGLET_TRY(engine->attention_,
              AttentionPlan::create(config, storage, model->threads(), options.max_rows, policy != nullptr));
  if (options.cache == CacheType::kInt4) engine->take_key_biases();
  engine->store_ = std::make_shared<PagedStore>(
      KvLayout{.storage = storage, .key_length = int(config.key_length), .value_length = int(config.value_length)});
  // Names the weights well enough to refuse another model's snapshot.
  const std::string fingerprint = config.architecture + "/" + std::to_string(model->file_bytes()) + "/" +
                                  model->metadata().string_or("general.name", "").value_or("") +
                                  (policy ? "/" + options.cache_policy : "");
  engine->cache_config_ =
      std::make_shared<const CacheConfig>(cache_config(config, options.context, fingerprint, std::move(policy)));
  return engine;
}

/// What a layer's key bias adds to all keys alike. Qwen's are many times larger than what differs between keys.
void ModelEngine::take_key_biases() {
  constexpr std::int64_t kPositions = 2048;  // beyond, the slow dimensions have turned so far that less is gained
  const ModelConfig& config = model_->config();
  if (config.qk_norm || !config.causal) return;
  const auto length = std::size_t(config.key_length);
  for (std::size_t layer = 0; layer < model_->layers.size(); ++layer) {
    const auto& bias = model_->layers[layer].key_bias;
    if (bias.empty()) continue;
    const RopeTables::Kind& kind = rope_.kinds[std::size_t(rope_.of_layer[layer])];
    std::vector<float> taken;
    for (std::size_t at = 0; at + length <= bias.size(); at += length) {
      const auto mean = mean_rotation(kind, config.rope, {bias.data() + at, length}, kPositions);
      taken.insert(taken.end(), mean.begin(), mean.end());
    }
    attention_->take_from_keys(int(layer), std::move(taken));
  }
}

Result<std::unique_ptr<Sequence>> ModelEngine::new_sequence() {
  return std::make_unique<SequenceCache>(store_, cache_config_);
}

Result<void> ModelEngine::check_call(const ForwardCall& call) const {
  const ModelConfig& config = model_->config();
  const int end = call.layer_end < 0 ? int(config.layers) : call.layer_end;
  if (call.layer_begin < 0 || call.layer_begin > end || end > config.layers) {
    return fail(ErrorCode::kInvalidArgument, "layers " + std::to_string(call.layer_begin) + " to " +
                                                 std::to_string(end) + " of a model of " +
                                                 std::to_string(config.layers));
  }
  if (call.rows.size() > std::size_t(options_.max_rows)) {
    return fail(ErrorCode::kInvalidArgument, std::to_string(call.rows.size()) + " rows in one call, at most " +
                                                 std::to_string(options_.max_rows) + " are planned for");
  }
  for (const Row& row : call.rows) {
    if (row.position < 0 || row.position >= options_.context) {
      return fail(ErrorCode::kExhausted,
                  "position " + std::to_string(row.position) + " is beyond the context of " +
                      std::to_string(options_.context) + " tokens",
                  "Shorten the text, or raise --context.");
    }
  }
  return {};
}

/// Whether each row continues the row of its sequence before it, whatever the call says.
bool is_chain(const ForwardCall& call) {
  if (!call.tree) return true;
  for (std::size_t i = 0; i < call.rows.size(); ++i) {
    std::int32_t before = std::int32_t(i) - 1;
    while (before >= 0 && call.rows[std::size_t(before)].sequence != call.rows[i].sequence) --before;
    if (call.rows[i].parent != before) return false;
  }
  return true;
}

Result<void> ModelEngine::forward(const ForwardCall& call) {
  KINGLET_CHECK(check_call(call));
  if (call.rows.empty()) return {};
  const int end = call.layer_end < 0 ? int(model_->config().layers) : call.layer_end;
  const bool whole = call.layer_begin == 0 && end == int(model_->config().layers);
  if (pruner_ && !prunes_ && whole && call.hooks == nullptr && call.commit && is_chain(call)) {
    prunes_ = true;  // its own calls come here too
    auto done = pruner_->forward(*this, call);
    prunes_ = false;
    return done;
  }
  KINGLET_CHECK(attention_->prepare(call.rows, call.tree, call.layer_begin, end));
  ForwardCall own = call;
  if (options_.ffn_skip && whole && call.hooks == nullptr && skip_.begin(*options_.ffn_skip, call))
    own.hooks = skip_.hooks();
  ForwardPass pass({*model_, rope_, workspace_, *attention_, options_.max_rows}, own);
  pass.run();
  count_weights(pass.weights_read());
  if (const WeightStream* stream = model_->stream()) KINGLET_CHECK(stream->status());
  if (call.commit) attention_->commit();
  return {};
}

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

Result<void> ModelEngine::head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) {
  const std::size_t vocabulary = std::size_t(model_->config().vocabulary);
  for (TokenId id : allowed) {
    if (id < 0 || std::size_t(id) >= vocabulary) {
      return fail(ErrorCode::kInvalidArgument,
                  "the allowed token id " + std::to_string(id) + " is not in the vocabulary");
    }
  }
  std::vector<TileRange>& tiles = head_tiles_;
  find_tiles(allowed, model_->output_head().tiles(), tiles);
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
  count_weights(head.bytes() * std::uint64_t(total) / std::uint64_t(head.tiles()));
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
  positions_.clear();
  bool tree = false;
  for (const Row& row : rows) {
    positions_.push_back(row.position);
    tree |= row.parent >= 0;
  }
  KINGLET_CHECK(embed(ids, positions_, workspace_.hidden));
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

Result<CacheType> parse_cache_type(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, CacheType>, 5> kTypes{{{"f32", CacheType::kF32},
                                                                          {"f16", CacheType::kF16},
                                                                          {"bf16", CacheType::kBf16},
                                                                          {"int8", CacheType::kInt8},
                                                                          {"int4", CacheType::kInt4}}};
  for (const auto& [known, type] : kTypes) {
    if (known == name) return type;
  }
  return fail(ErrorCode::kInvalidArgument, "'" + std::string(name) + "' is no cache type",
              "Known: f32, f16, bf16, int8, int4.");
}

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model, EngineOptions options) {
  KINGLET_TRY(auto engine, ModelEngine::create(std::move(model), options));
  return options.early_exit.empty() ? std::move(engine) : exit_early(std::move(engine));
}

Result<void> prefill(Engine& engine, Sequence& sequence, std::span<const TokenId> ids, int chunk, float* logits) {
  const std::size_t size =
      std::size_t(chunk > 0 ? std::min(chunk, engine.options().max_rows) : engine.options().max_rows);
  std::vector<Row> rows;
  for (std::size_t begin = 0; begin < ids.size(); begin += size) {
    const std::size_t count = std::min(size, ids.size() - begin);
    rows.clear();
    for (std::size_t i = 0; i < count; ++i)
      rows.push_back({&sequence, std::int32_t(sequence.length() + std::int64_t(i))});
    const std::int32_t last = std::int32_t(count) - 1;
    const bool is_end = begin + count == ids.size();
    KINGLET_CHECK(engine.step(rows, ids.subspan(begin, count),
                              is_end ? std::span(&last, 1) : std::span<const std::int32_t>(), logits));
  }
  return {};
}

}  // namespace kinglet
