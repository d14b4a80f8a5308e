// Quality, speed and memory as numbers: what the commands, the reports and the searches over recipes all use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kinglet/draft.h"
#include "kinglet/engine.h"

namespace kinglet {

/// A piece of text that is fed to an empty sequence. The tokens from `score_from` (>= 1) on are predicted and scored.
struct TextWindow {
  std::vector<TokenId> ids;
  std::size_t score_from = 1;
  std::size_t text_offset = 0;  ///< index of ids[0] in the whole text's tokens
};

struct WindowOptions {
  std::int64_t context = 512;  ///< tokens a window, at least 4
  /// 0: windows without overlap, the first token of each replaced by BOS where the model adds one, the second half of
  /// each scored (tokens from context / 2 + 1 on) and an incomplete last window left out: as llama-perplexity does. N:
  /// windows start every N tokens and each scores its last N (the first one all of its own), so that every token but
  /// the first is scored once, with at least context - N tokens before it.
  std::int64_t stride = 0;
};

/// Cuts a text's ids (with BOS in front where the model adds one). A text shorter than one window is one window, its
/// second half scored. kInvalidArgument where nothing could be scored.
Result<std::vector<TextWindow>> make_windows(std::span<const TokenId> ids, const Tokenizer& tokenizer,
                                             const WindowOptions& options);

/// One place where two models differ.
struct Disagreement {
  std::size_t position = 0;  ///< of the predicted token in the text's tokens
  double kl = 0;
  std::string before, token;                                ///< the text before it, and the token that follows
  std::string model_best, reference_best;                   ///< what each would have said
  double model_probability = 0, reference_probability = 0;  ///< of the token that follows
};

/// Kullback-Leibler divergence D(reference || model) in nats over the scored tokens.
struct Divergence {
  /// The standard error is that between tokens, or between windows (eight or more) where that is larger: the tokens of
  /// one window are alike.
  double mean = 0, standard_error = 0, median = 0, p99 = 0, max = 0;
  double top1_agreement = 0;  ///< share of places where both have the same best token
  double reference_nll = 0;
  std::vector<Disagreement> worst;  ///< descending by kl
};

struct WindowScore {
  double nll = 0;                                        ///< nats a token
  std::int64_t tokens = 0;                               ///< scored
  double reference_nll = 0, kl = 0, top1_agreement = 0;  ///< means over the tokens; with a reference
};

struct Evaluation {
  double nll = 0, standard_error = 0;  ///< nats a token
  double perplexity = 0;               ///< exp(nll)
  std::int64_t tokens = 0;             ///< scored
  std::int64_t fed = 0;                ///< tokens that went through the model
  double seconds = 0;
  std::vector<WindowScore> windows;      ///< one for each
  std::optional<Divergence> divergence;  ///< with a reference
};

struct EvaluateOptions {
  int chunk = 0;  ///< most rows of one pass; 0: the engine's max_rows
  /// 0: the windows go through one after the other, in large pieces. N: as decoding goes, a token of N windows each in
  /// a pass.
  int batch = 0;
  /// Changes the logits [vocabulary] for a token before they are scored (a grammar forbids some), in the order of the
  /// tokens: (index of the window, of the token in it, row). With a reference also its row.
  std::function<Result<void>(std::size_t window, std::size_t index, std::span<float> row)> reshape = {};
  /// With a reference: makes of the model's row and the reference's the one that is scored, in `row`.
  std::function<void(std::span<float> row, std::span<const float> reference)> combine = {};
  std::size_t worst = 10;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  ///< in tokens fed
};

/// Runs the windows through `model` and, where given, through `reference` at the same time: no logits are stored.
/// kInvalidArgument where the vocabularies differ in size; kCancelled when interrupted.
Result<Evaluation> evaluate(Engine& model, Engine* reference, std::span<const TextWindow> windows,
                            const EvaluateOptions& options = {});

/// Feeds one sequence and hands out the logits of the tokens from `from` on, in order and in pieces:
/// (index of the first, rows, logits [rows, vocabulary]). Memory: one piece of at most 64 MiB of logits.
Result<void> stream_logits(Engine& engine, std::span<const TokenId> ids, std::size_t from, int chunk,
                           const std::function<Result<void>(std::size_t first, int rows, float* logits)>& sink);

/// Percentile `share` (0..1) by linear interpolation between the nearest ranks; sorts `values`. 0 for an empty list.
double percentile(std::vector<double>& values, double share);

/// Bytes a second that `threads` threads can read from memory together, for `seconds`. Allocates 256 MiB meanwhile.
double measure_bandwidth(int threads, double seconds = 0.2);

/// The most memory that this process had resident so far, in bytes.
std::uint64_t peak_memory();
/// Starts counting anew, where the system allows it.
bool reset_peak_memory();

struct Machine {
  std::string processor, system;
  int cores = 0;
  std::uint64_t memory_bytes = 0;
};
Machine describe_machine();

/// How busy the machine was with other things since the last call (or construction): the share of all cores' time that
/// went to other processes or was stolen by the host. Children that were waited for count as ours.
class ForeignLoad {
 public:
  ForeignLoad() { (void)share(); }
  double share();

 private:
  double busy_ = 0, total_ = 0, own_ = 0;
};

/// One speed test of `bench`.
struct SpeedTest {
  enum class Kind { kDecode, kPrefill, kBatch, kDepth } kind = Kind::kDecode;
  int size = 0;      ///< sequences of a batch, positions of a depth, tokens of a prompt
  std::string name;  ///< "decode", "prefill", "batch8", "depth4096"
};
/// "decode", "prefill", "prefillN" (tokens; prefill is 512), "batchN" (sequences), "depthN" (positions in the cache).
Result<SpeedTest> parse_speed_test(std::string_view name);

/// Lengths that both engines use in a comparison.
inline constexpr int kBenchPrompt = 16, kBenchDecodeTokens = 128, kBenchPrefillTokens = 512, kBenchBatchTokens = 32,
                     kBenchDepthTokens = 32;

/// Tokens a second of one run: drawn tokens for decoding (greedy, end tokens ignored), prompt tokens for prefill.
/// Prompts are random tokens from a fixed seed. Holds the sequences of depth tests from run to run.
struct GenerateRequest;
class SpeedMeter {
 public:
  explicit SpeedMeter(Engine& engine, std::string drafter = "none", std::shared_ptr<DraftModel> draft_model = nullptr)
      : engine_(engine), drafter_(std::move(drafter)), draft_model_(std::move(draft_model)) {}
  Result<double> run(const SpeedTest& test);
  /// Changes each request before it runs (a grammar, say). Then an answer may end early, and its own tokens count.
  std::function<void(GenerateRequest&)> prepare;

 private:
  Result<double> decode(int sequences, int tokens, int depth);
  Engine& engine_;
  std::string drafter_;
  std::shared_ptr<DraftModel> draft_model_;
  std::vector<std::pair<int, std::unique_ptr<Sequence>>> deep_;
};

}  // namespace kinglet
