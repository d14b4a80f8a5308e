// The forward primitive. Rows (one token of one sequence each) go through a range of layers; rows of many sequences,
// prompts in chunks, trees of drafted tokens, early exits and skipped layers are all callers of the same three calls.
// One arithmetic: a row's result does not depend on the other rows of the call, on threads or on the instruction set.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kinglet/model.h"
#include "kinglet/result.h"

namespace kinglet {

/// kInt8: one scale a position and head. kInt4: 32 values share a scale, after a rotation that spreads outliers.
enum class CacheType { kF32, kF16, kBf16, kInt8, kInt4 };
Result<CacheType> parse_cache_type(std::string_view name);

class FeedForwardSkip;

struct EngineOptions {
  CacheType cache = CacheType::kF16;
  std::int64_t context = 0;  ///< most positions a sequence may have; 0: the model's own
  int max_rows = 512;        ///< most rows of one call; the workspace is sized for it once
  /// Which positions a full-attention layer keeps: NAME[:key=value,…] of cache_policies(). One that forgets lets a
  /// sequence grow beyond the model's context.
  std::string cache_policy = "full";
  /// Tokens that prefill leaves behind on the way up (kinglet/token_pruning.h): RATE,…[@LAYER,…]; empty: none. step()
  /// follows it; forward() does what its caller says.
  std::string lazy_prefill = {};
  /// Feed-forwards that decoding skips (kinglet/ffn_skip.h); null: none. For calls without hooks.
  std::shared_ptr<const FeedForwardSkip> ffn_skip = nullptr;
  /// Layers after which a token may be drawn, each with the probability of the best token that is enough:
  /// LAYER:P,… (Sorted LLaMA, Kavehzadeh et al. 2023, inference mode c); empty: none. step() follows it; forward() does
  /// what its caller says.
  std::string early_exit = {};
};

/// What one conversation remembers. Owned by the caller; belongs to its engine, which must outlive it. Not thread-safe.
class Sequence {
 public:
  virtual ~Sequence() = default;
  /// Positions seen: one more than the highest that was fed (of the layer that is furthest behind).
  virtual std::int64_t length() const = 0;
  /// Forgets positions >= length. kInvalidArgument above length(); a sliding layer may have forgotten what a shorter
  /// sequence would need: then kUnsupported.
  virtual Result<void> truncate(std::int64_t length) = 0;
  /// A second sequence with the same memory; full pages are shared, not copied.
  virtual Result<std::unique_ptr<Sequence>> fork() const = 0;
  /// After a call whose rows formed a tree from position `base` on: keeps the rows of one path (indices of the
  /// sequence's rows in that call, ascending, one a position from `base` on) and forgets the others.
  virtual Result<void> keep_path(std::int64_t base, std::span<const std::int32_t> offsets) = 0;
  virtual Result<std::string> snapshot() const = 0;  ///< bytes; restore() checks them as hostile
  virtual Result<void> restore(std::string_view bytes) = 0;
  virtual std::uint64_t bytes() const = 0;  ///< memory held (shared pages counted once each sequence)
};

/// One token's place. A row takes the sequence's next slot of each layer; what it sees is decided by positions, so rows
/// may come late, and layers may hold different ones.
struct Row {
  Sequence* sequence = nullptr;
  std::int32_t position = 0;  ///< place in the text: rotary angle, and which slots are seen (those not above it)
  /// Index in this call of the row that it continues, -1: the sequence as it was before the call (for plain chains the
  /// previous row is found by position; set `tree` on the call to use this).
  std::int32_t parent = -1;
};

/// The four inputs that a layer's matrices read: the normed rows of query, key and value; the attended values of the
/// output matrix; the normed rows of gate and up; the activated rows of down.
enum class TapPoint { kAttentionInput, kAttended, kFeedForwardInput, kActivated };

/// What a caller may look at or decide during forward(). All optional.
struct ForwardHooks {
  /// The f32 input of some of a layer's matrices: (layer, point, values [rows, inputs]). Called on the calling thread
  /// while the others multiply: copy and return.
  std::function<void(int layer, TapPoint point, std::span<const float> values)> linear_input;
  /// Hidden rows after a layer: (layer, hidden [rows, width]). May change them. Called on the calling thread.
  std::function<void(int layer, std::span<float> hidden)> after_layer;
  /// Before a feed-forward: which rows run it (1) and which skip it (0). Called on the calling thread.
  std::function<void(int layer, std::span<const float> hidden, std::span<std::uint8_t> run)> feed_forward;
  /// Attention weights of the last row over the layer's slots up to the last visible one, 0 where it does not see one:
  /// (layer, head, weights). Slow; for analysis.
  std::function<void(int layer, int head, std::span<const float> weights)> attention;
};

struct ForwardCall {
  std::span<const Row> rows;
  float* hidden = nullptr;  ///< [rows, width] f32, in and out
  int layer_begin = 0;
  int layer_end = -1;  ///< -1: all layers
  bool tree = false;   ///< rows see the sequence and their ancestors only
  bool commit = true;  ///< after the last layer of the call the sequences' lengths grow
  const ForwardHooks* hooks = nullptr;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, EngineOptions options = {});
  virtual ~Engine() = default;
  virtual const Model& model() const = 0;
  virtual const EngineOptions& options() const = 0;

  virtual Result<std::unique_ptr<Sequence>> new_sequence() = 0;

  /// hidden [ids, width]. Ids out of range are kInvalidArgument. `positions` only matters to models with a position
  /// embedding; may be empty otherwise.
  virtual Result<void> embed(std::span<const TokenId> ids, std::span<const std::int32_t> positions, float* hidden) = 0;
  /// kExhausted with both figures where a sequence would pass the context; then no sequence has changed.
  virtual Result<void> forward(const ForwardCall& call) = 0;
  /// Final norm, head, soft cap. logits [rows, vocabulary]; with `allowed` (ascending ids) [rows, allowed] and only
  /// those rows of the head are multiplied.
  virtual Result<void> head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) = 0;
  /// The final norm alone: what an embedding model gives.
  virtual void final_norm(float* hidden, int rows) = 0;

  /// embed, all layers, and the head of the rows named in `wanted` (indices, ascending): logits [wanted, vocabulary].
  /// Calls with more than max_rows rows are cut into several.
  virtual Result<void> step(std::span<const Row> rows, std::span<const TokenId> ids,
                            std::span<const std::int32_t> wanted, float* logits) = 0;
  /// The tokens with the largest logits of the last head() or step() that made whole rows, one for each: the lowest id
  /// among equals, -1 where no logit is above -infinity. The threads note them while the logits are in their caches, so
  /// that a greedy choice need not read the rows. Empty where the engine does not say (many rows, only allowed tokens).
  virtual std::span<const TokenId> best() const { return {}; }
  virtual std::uint64_t workspace_bytes() const = 0;
  virtual std::uint64_t cache_bytes() const = 0;  ///< pages in use by all sequences

  /// Bytes of weights that all calls so far have multiplied by, each matrix once a call, whatever the rows.
  virtual std::uint64_t weights_read() const { return weights_read_; }
  /// For those who multiply by rows of the model's matrices themselves (a trimmed head).
  virtual void count_weights(std::uint64_t bytes) { weights_read_ += bytes; }

 private:
  std::uint64_t weights_read_ = 0;
};

/// Feeds a chain of ids to one sequence in chunks of at most `chunk` rows (0: max_rows) and gives the logits of the
/// last.
Result<void> prefill(Engine& engine, Sequence& sequence, std::span<const TokenId> ids, int chunk, float* logits);

}  // namespace kinglet
