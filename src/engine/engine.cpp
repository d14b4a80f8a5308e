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
#include "engine/output_head.h"
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
  void final_norm(float* hidden, int rows) override { head_.norm(hidden, rows); }
  Result<void> step(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                    float* logits) override;
  std::span<const TokenId> best() const override { return head_.best(); }
  std::uint64_t workspace_bytes() const override { return workspace_.bytes(); }
  std::uint64_t cache_bytes() const override { return store_->bytes_in_use(); }

 private:
  ModelEngine(std::shared_ptr<const Model> model, EngineOptions options, Workspace workspace)
      : model_(std::move(model)),
        options_(std::move(options)),
        rope_(model_->config()),
        workspace_(std::move(workspace)),
        skip_(width()),
        head_(*model_, workspace_) {}
  std::size_t width() const { return std::size_t(model_->config().width); }
  void take_key_biases();
  Result<void> check_call(const ForwardCall& call) const;
  Result<void> step_chunk(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                          std::int32_t offset, float* logits);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  RopeTables rope_;
  Workspace workspace_;
  SkipHooks skip_;
  OutputHead head_;
  std::unique_ptr<TokenPruner> pruner_;
  bool prunes_ = false;  ///< a call of pruner_ is under way
  std::shared_ptr<PagedStore> store_;
  std::shared_ptr<const CacheConfig> cache_config_;
  std::unique_ptr<AttentionPlan> attention_;
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
  // Passes are made small, or weights left on disk, where memory is what lacks.
  const bool saves_memory = model->stream() != nullptr || options.max_rows < EngineOptions{}.max_rows;
  engine->store_ = std::make_shared<PagedStore>(
      KvLayout{.storage = storage, .key_length = int(config.key_length), .value_length = int(config.value_length)},
      saves_memory ? Pages::kSmall : Pages::kHuge);
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

Result<void> ModelEngine::head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) {
  KINGLET_TRY(const std::uint64_t read, head_.run(hidden, rows, options_.max_rows, allowed, logits));
  count_weights(read);
  return {};
}

Result<void> ModelEngine::step(std::span<const Row> rows, std::span<const TokenId> ids,
                               std::span<const std::int32_t> wanted, float* logits) {
  if (rows.size() != ids.size()) return fail(ErrorCode::kInternal, "step: rows and ids differ in number");
  head_.forget_best();
  std::size_t done = 0;  // of wanted
  for (std::size_t begin = 0; begin < rows.size(); begin += std::size_t(options_.max_rows)) {
    const std::size_t count = std::min(rows.size() - begin, std::size_t(options_.max_rows));
    std::size_t end = done;
    while (end < wanted.size() && std::size_t(wanted[end]) < begin + count) ++end;
    KINGLET_CHECK(step_chunk(rows.subspan(begin, count), ids.subspan(begin, count), wanted.subspan(done, end - done),
                             std::int32_t(begin), logits + done * std::size_t(model_->config().vocabulary)));
    done = end;
  }
  if (rows.size() > std::size_t(options_.max_rows)) head_.forget_best();  // only the last call's
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
