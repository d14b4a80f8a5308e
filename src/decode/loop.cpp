#include "decode/loop.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/try.h"
#include "decode/softmax.h"

namespace kinglet {
namespace {

constexpr std::size_t kMostForesight = 32;

double milliseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

LoopTarget loop_target(Engine& engine) {
  const Model& model = engine.model();
  const ModelConfig& config = model.config();
  return {.engine = &engine,
          .tokenizer = &model.tokenizer(),
          .vocabulary = config.vocabulary,
          .width = config.width,
          .context = engine.options().context > 0 ? engine.options().context : config.context};
}

void GenerationLoop::add(std::size_t index, GenerateRequest request) {
  auto stream = std::make_unique<Stream>();
  stream->index = index;
  stream->request = std::move(request);
  waiting_.push_back(std::move(stream));
}

void GenerationLoop::start() {
  const int most = std::min(batch_, target_.engine->options().max_rows);
  while (!waiting_.empty() && static_cast<int>(running_.size()) < most) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    Stream& stream = *running_.back();
    stream.started = std::chrono::steady_clock::now();
    if (auto opened = open(stream); !opened)
      finish_with(stream, std::move(opened).error());
    else if (stream.request.options.max_tokens <= 0)
      finish(stream, "length");
  }
}

Result<void> GenerationLoop::open(Stream& stream) {
  const GenerateRequest& request = stream.request;
  const auto count = static_cast<std::int64_t>(request.prompt.size());
  stream.result.prompt_tokens = count;
  if (count == 0)
    return fail(ErrorCode::kInvalidArgument, "the prompt is empty and the model has no beginning-of-text token to add",
                "Give at least one character.");
  if (count > target_.context)
    return fail(ErrorCode::kExhausted,
                "the prompt has " + std::to_string(count) + " tokens and the context " +
                    std::to_string(target_.context) + " positions",
                "Shorten the prompt or give a larger --context.");
  for (TokenId id : request.prompt)
    if (id < 0 || id >= target_.vocabulary)
      return fail(ErrorCode::kInvalidArgument, "the prompt has the token id " + std::to_string(id) +
                                                   ", expected 0 to " + std::to_string(target_.vocabulary - 1));
  SamplerValues values = request.options.sampling;
  for (const auto& [id, bias] : request.options.logit_bias) values["logit-bias:" + std::to_string(id)] += bias;
  KINGLET_TRY(stream.chain, SamplerChain::make(values, request.options.seed, request.processors));
  stream.text = TextStream(request.options.stop);
  stream.sequence = request.sequence;
  if (!stream.sequence) {
    KINGLET_TRY(stream.own, target_.engine->new_sequence());
    stream.sequence = stream.own.get();
  } else if (stream.sequence->length() >= count) {
    KINGLET_CHECK(stream.sequence->truncate(count - 1));  // the last row is fed again for its logits
  }
  stream.result.cached_tokens = stream.sequence->length();
  KINGLET_CHECK(open_drafter(stream));
  // All that a step appends to: no allocation later.
  const auto most = static_cast<std::size_t>(
      std::min<std::int64_t>(request.options.max_tokens, std::max<std::int64_t>(target_.context - count + 1, 1)));
  stream.tokens.reserve(request.prompt.size() + most);
  stream.tokens.assign(request.prompt.begin(), request.prompt.end());
  stream.result.token_ids.reserve(most);
  stream.text.reserve(std::min<std::size_t>(most * 8, 1 << 20));
  for (TokenId id : request.prompt) stream.chain.accept(id);
  return {};
}

Result<void> GenerationLoop::open_drafter(Stream& stream) {
  const GenerateOptions& options = stream.request.options;
  const double temperature = stream.chain.greedy() ? 0 : sampler_value(options.sampling, "temperature");
  if (make_drafter) {
    KINGLET_TRY(stream.drafter, make_drafter(options.drafter));
    return {};
  }
  KINGLET_TRY(stream.drafter, kinglet::make_drafter(options.drafter,
                                                    {.target = target_.engine,
                                                     .sequence = stream.sequence,
                                                     .model = options.draft_model,
                                                     .shared = shared_,
                                                     .temperature = temperature,
                                                     .least_probability = options.draft_least_probability,
                                                     .wants_distributions = options.ratio_acceptance && temperature > 0,
                                                     .seed = options.seed}));
  return {};
}

Result<void> GenerationLoop::step() {
  start();
  sweep();
  if (running_.empty()) return {};
  plan();
  bool decoding = true;  // a pass with rows of a prompt says nothing about those of a draft
  for (const auto& stream : running_) decoding = decoding && stream->decoding();
  const auto begin = std::chrono::steady_clock::now();
  const std::uint64_t read = target_.engine->weights_read();
  KINGLET_CHECK(execute());
  for (const auto& stream : running_)
    if (stream->decoding()) stream->result.pass_bytes += (target_.engine->weights_read() - read) / running_.size();
  for (const auto& stream : running_)
    if (stream->wanted_count > 0)
      if (auto done = advance(*stream); !done) finish_with(*stream, std::move(done).error());
  if (decoding) shared_->costs.observe(rows_.size(), milliseconds(std::chrono::steady_clock::now() - begin) / 1000);
  for (const auto& stream : running_)
    if (stream->request.options.after_pass) stream->request.options.after_pass();
  sweep();
  return {};
}

/// Each token follows the target's own distribution given the text before it (draw()). Where it was proposed, its row
/// has been computed already and the walk goes on there: exact for greedy and for sampling.
Result<void> GenerationLoop::advance(Stream& stream) {
  ++stream.result.target_passes;
  path_.clear();
  std::int32_t node = -1;
  for (;;) {
    KINGLET_TRY(const TokenId id, draw(stream, stream.first_wanted + static_cast<std::size_t>(node + 1), node));
    if (!take(stream, id)) break;
    std::int32_t next = -1;
    for (std::size_t child = 0; child < stream.draft.size() && next < 0; ++child)
      if (stream.draft.parents[child] == node && stream.draft.tokens[child] == id)
        next = static_cast<std::int32_t>(child);
    if (next < 0) break;
    node = next;
    path_.push_back(node);
  }
  if (!stream.done && must_end(stream)) finish(stream, "stop");
  if (stream.draft.size() == 0) return {};
  if (stream.foreseen) {
    stream.result.forced_tokens += static_cast<std::int64_t>(path_.size());
    stream.foresight = std::clamp<std::size_t>(
        path_.size() == stream.draft.size() ? 2 * stream.foresight : stream.foresight / 2, 1, kMostForesight);
  } else {
    stream.result.drafted += static_cast<std::int64_t>(stream.draft.size());
    stream.result.accepted += static_cast<std::int64_t>(path_.size());
    stream.drafter->observe(static_cast<int>(path_.size()));
  }
  return settle(stream);
}

/// Nothing but an end token may follow: no pass is needed to draw it.
bool GenerationLoop::must_end(Stream& stream) {
  if (stream.request.options.ignore_eos || stream.chain.plain()) return false;
  const auto allowed = stream.chain.allowed();
  return allowed && !allowed->empty() &&
         std::all_of(allowed->begin(), allowed->end(), [&](TokenId id) { return target_.tokenizer->is_end(id); });
}

/// Forgets the rows of refused tokens; path_ has the drafted nodes that stay.
Result<void> GenerationLoop::settle(Stream& stream) {
  if (stream.draft.is_chain())
    return stream.sequence->truncate(stream.base + static_cast<std::int64_t>(stream.fed + path_.size()));
  for (auto& node : path_) ++node;  // node i stands in slot base + fed + i
  path_.insert(path_.begin(), 0);
  return stream.sequence->keep_path(stream.base + static_cast<std::int64_t>(stream.fed) - 1, path_);
}

/// The child of `node` that the drafter drew at random, or -1.
std::int32_t GenerationLoop::drawn_child(const Stream& stream, std::int32_t node) const {
  const Draft& draft = stream.draft;
  for (std::size_t i = 0; i < draft.drawn_from.size(); ++i)
    if (draft.parents[i] == node && draft.drawn_from[i] >= 0) return static_cast<std::int32_t>(i);
  return -1;
}

/// The token after `node` of the draft (-1: after the text). Proposals that were chosen without chance have no say in
/// it; one that was drawn from a distribution is accepted by the ratio of both probabilities.
Result<TokenId> GenerationLoop::draw(Stream& stream, std::size_t wanted, std::int32_t node) {
  const auto vocabulary = static_cast<std::size_t>(target_.vocabulary);
  const Mask* mask = mask_of(wanted);
  const std::span<float> row(logits_.data() + wanted * vocabulary, mask ? mask->ids.size() : vocabulary);
  const bool logprobs = stream.request.options.logprobs > 0;
  if (logprobs) {
    kept_row_.assign(vocabulary, -std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < row.size(); ++i) kept_row_[mask ? static_cast<std::size_t>(mask->ids[i]) : i] = row[i];
  }
  if (!mask && stream.chain.plain())
    return wanted < best_.size() && best_[wanted] >= 0 ? best_[wanted] : SamplerChain::pick_best(row);
  if (mask)
    candidates_.reset(row, mask->ids);
  else
    candidates_.reset(row);
  const std::int32_t child = drawn_child(stream, node);
  if (child < 0) return stream.chain.pick(candidates_);
  return stream.chain.pick_drafted(candidates_, stream.draft.tokens[static_cast<std::size_t>(child)],
                                   *stream.draft.distribution(static_cast<std::size_t>(child)));
}

void GenerationLoop::report_logprobs(Stream& stream, TokenId id) {
  const double total = log_sum_exp(kept_row_);
  TokenLogprob report{
      .id = id, .logprob = static_cast<float>(kept_row_[static_cast<std::size_t>(id)] - total), .top = {}};
  candidates_.reset(kept_row_);
  candidates_.keep_top(static_cast<std::size_t>(stream.request.options.logprobs));
  for (std::size_t i = 0; i < candidates_.size(); ++i)
    report.top.emplace_back(candidates_.id(i), static_cast<float>(candidates_.logits()[i] - total));
  stream.result.logprobs.push_back(std::move(report));
}

/// Takes a drawn token into the answer; false where the answer ends with it.
bool GenerationLoop::take(Stream& stream, TokenId id) {
  const GenerateOptions& options = stream.request.options;
  const auto now = std::chrono::steady_clock::now();
  if (stream.result.token_ids.empty() && stream.result.decode_tokens == 0 && stream.first_token == decltype(now){}) {
    stream.first_token = now;
    stream.result.prefill_ms = milliseconds(now - stream.started);
  } else {
    ++stream.result.decode_tokens;
  }
  if (target_.tokenizer->is_end(id) && !options.ignore_eos) {
    finish(stream, "stop");
    return false;
  }
  stream.tokens.push_back(id);
  stream.result.token_ids.push_back(id);
  stream.chain.accept(id);
  if (options.logprobs > 0) report_logprobs(stream, id);
  const std::string_view shown = stream.text.append(target_.tokenizer->piece(id));
  if (!shown.empty() && stream.request.on_text && !stream.request.on_text(shown))
    finish(stream, "cancelled");
  else if (stream.text.stopped())
    finish(stream, "stop");
  else if (static_cast<std::int64_t>(stream.result.token_ids.size()) >= options.max_tokens ||
           static_cast<std::int64_t>(stream.tokens.size()) > target_.context)
    finish(stream, "length");
  return !stream.done;
}

void GenerationLoop::finish(Stream& stream, std::string reason) {
  if (stream.done) return;
  stream.done = true;
  const auto now = std::chrono::steady_clock::now();
  if (stream.first_token != decltype(now){}) stream.result.decode_ms = milliseconds(now - stream.first_token);
  const std::string_view shown = stream.text.finish();
  if (!shown.empty() && stream.request.on_text && reason != "cancelled") stream.request.on_text(shown);
  stream.result.text = stream.text.text();
  stream.result.finish_reason = std::move(reason);
}

void GenerationLoop::finish_with(Stream& stream, Error error) {
  stream.done = false;  // an error while an ended answer is put away still is one
  finish(stream, "error");
  stream.result.error = std::move(error);
}

void GenerationLoop::cancel(const std::string& reason) {
  for (auto& stream : waiting_) running_.push_back(std::move(stream));
  waiting_.clear();
  for (auto& stream : running_) finish(*stream, reason);
  sweep();
}

void GenerationLoop::sweep() {
  for (std::size_t i = 0; i < running_.size();) {
    if (!running_[i]->done) {
      ++i;
      continue;
    }
    const auto stream = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    stream->own.reset();
    if (on_done) on_done(stream->index, std::move(stream->result));
  }
}

}  // namespace kinglet
