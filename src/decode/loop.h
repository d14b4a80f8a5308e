// The generation loop, one engine pass at a time. generate() runs it to the end; a server adds requests while it runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decode/draft_shared.h"
#include "decode/sampler_chain.h"
#include "decode/text_stream.h"
#include "kinglet/generate.h"

namespace kinglet {

/// What the loop asks of a model, so that it can run on a stand-in.
struct LoopTarget {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  std::int64_t vocabulary = 0, width = 0;
  std::int64_t context = 0;  ///< most positions of a sequence
};
LoopTarget loop_target(Engine& engine);

/// One request on its way.
struct Stream {
  std::size_t index = 0;
  GenerateRequest request;
  std::unique_ptr<Sequence> own;
  Sequence* sequence = nullptr;
  std::vector<TokenId> tokens;  ///< prompt and answer; sequence->length() of them are fed between passes
  SamplerChain chain;
  TextStream text;
  std::unique_ptr<Drafter> drafter;
  Generation result;
  std::chrono::steady_clock::time_point started, first_token;
  bool done = false;

  // The pass that is being made: rows [first_row, first_row + row_count), and where its logits stand. A stream whose
  // prompt is not finished by this pass wants none.
  Draft draft;
  bool foreseen = false;       ///< the draft is what a processor foresaw, not the drafter's
  std::size_t foresight = 16;  ///< most foreseen tokens a pass: doubled where all stood, halved where not
  std::int64_t base = 0;
  std::size_t fed = 1;  ///< rows of the text itself, before the draft's
  std::size_t first_row = 0, row_count = 0, first_wanted = 0, wanted_count = 0;
  bool decoding() const { return !result.token_ids.empty() || result.target_passes > 0; }
};

class GenerationLoop {
 public:
  GenerationLoop(LoopTarget target, int batch) : target_(target), batch_(batch < 1 ? 1 : batch) {}

  /// Queues a request; it starts as soon as fewer than `batch` run.
  void add(std::size_t index, GenerateRequest request);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// One pass over all running requests. An error is the engine's and ends them all.
  Result<void> step();
  /// Ends everything that runs or waits.
  void cancel(const std::string& reason = "cancelled");

  std::function<void(std::size_t, Generation)> on_done;
  /// Drafters by name; the registry's unless something else is set.
  std::function<Result<std::unique_ptr<Drafter>>(std::string_view)> make_drafter;

 private:
  /// A row whose head is computed for some tokens only.
  struct Mask {
    std::size_t wanted;
    std::vector<TokenId> ids;
  };

  void start();
  Result<void> open(Stream& stream);
  Result<void> open_drafter(Stream& stream);
  void plan();
  void plan_decode(Stream& stream, std::size_t spare_rows);
  void propose(Stream& stream, int budget);
  void plan_prefill(Stream& stream, std::size_t spare_rows);
  void foresee(Stream& stream, std::size_t spare_rows);
  void constrain_draft(Stream& stream);
  bool must_end(Stream& stream);
  void add_rows(Stream& stream);
  Result<void> execute();
  Result<void> execute_by_parts(bool tree);
  Result<void> advance(Stream& stream);
  Result<TokenId> draw(Stream& stream, std::size_t wanted, std::int32_t node);
  std::int32_t drawn_child(const Stream& stream, std::int32_t node) const;
  bool take(Stream& stream, TokenId id);
  Result<void> settle(Stream& stream);
  void report_logprobs(Stream& stream, TokenId id);
  void finish(Stream& stream, std::string reason);
  void finish_with(Stream& stream, Error error);
  void sweep();
  const Mask* mask_of(std::size_t wanted) const;

  LoopTarget target_;
  int batch_;
  std::shared_ptr<DraftShared> shared_ = std::make_shared<DraftShared>();  ///< outlives drafters that keep it
  std::deque<std::unique_ptr<Stream>> waiting_;
  std::vector<std::unique_ptr<Stream>> running_;

  // One pass. The vectors keep their memory from pass to pass.
  std::vector<Row> rows_;
  std::vector<TokenId> ids_;
  std::vector<std::int32_t> positions_, wanted_, path_;
  std::vector<float> logits_, hidden_, kept_row_;
  std::vector<TokenId> best_;  ///< of the rows of logits_, where the engine said so
  std::vector<Mask> masks_;
  std::size_t mask_count_ = 0;
  std::vector<TokenId> foreseen_;
  Candidates candidates_;
  Draft pruned_;
};

}  // namespace kinglet
