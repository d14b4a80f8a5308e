// One pass of the generation loop: which rows it has, and how their logits are made.
#include <algorithm>
#include <cstring>

#include "base/try.h"
#include "decode/loop.h"

namespace kinglet {

void GenerationLoop::plan() {
  rows_.clear();
  ids_.clear();
  positions_.clear();
  wanted_.clear();
  mask_count_ = 0;
  std::size_t decoding = 0;
  for (const auto& stream : running_) decoding += stream->decoding();
  const auto most = static_cast<std::size_t>(target_.engine->options().max_rows);
  const std::size_t prefilling = running_.size() - decoding;
  // Each stream has one row for certain; drafts share what is left, and prompts take the rest in their order.
  const std::size_t spare = most - std::min(most, running_.size());
  std::size_t rest = decoding;
  for (const auto& stream : running_) {
    if (!stream->decoding()) continue;
    shared_->costs.set_others(rows_.size() + --rest, decoding - 1);
    plan_decode(*stream, spare / decoding);
  }
  std::size_t later = prefilling;
  for (const auto& stream : running_) {
    if (stream->decoding()) continue;
    --later;
    plan_prefill(*stream, most - rows_.size() - later);
  }
}

void GenerationLoop::plan_decode(Stream& stream, std::size_t spare_rows) {
  const GenerateOptions& options = stream.request.options;
  stream.base = stream.sequence->length();
  foresee(stream, spare_rows);
  if (stream.drafter && !stream.foreseen) {
    const std::int64_t left = options.max_tokens - static_cast<std::int64_t>(stream.result.token_ids.size()) - 1;
    const std::int64_t budget =
        std::min({static_cast<std::int64_t>(options.draft_budget), static_cast<std::int64_t>(spare_rows), left,
                  target_.context - stream.base - 1});
    if (budget > 0) propose(stream, static_cast<int>(budget));
  }
  if (!stream.chain.plain()) constrain_draft(stream);
  stream.row_count = 1;
  add_rows(stream);
}

void GenerationLoop::propose(Stream& stream, int budget) {
  const DraftModel* model = stream.request.options.draft_model.get();
  const auto read = [&] {
    return target_.engine->weights_read() + (model && model->engine ? model->engine->weights_read() : 0);
  };
  const std::uint64_t before = read();
  const auto begin = std::chrono::steady_clock::now();
  stream.drafter->propose(stream.tokens, budget, stream.draft);
  stream.result.draft_ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  stream.result.draft_bytes += read() - before;
}

/// Text that must follow goes into the pass as a draft, so that it costs no pass of its own and the tokens are those
/// that would be drawn one by one.
void GenerationLoop::foresee(Stream& stream, std::size_t spare_rows) {
  const GenerateOptions& options = stream.request.options;
  stream.draft.clear();
  stream.foreseen = false;
  if (!options.jump_ahead || stream.chain.plain()) return;
  const std::int64_t left = std::min(options.max_tokens - static_cast<std::int64_t>(stream.result.token_ids.size()),
                                     target_.context - static_cast<std::int64_t>(stream.tokens.size())) -
                            1;
  const std::size_t most =
      std::min({stream.foresight, spare_rows, static_cast<std::size_t>(std::max<std::int64_t>(left, 0))});
  if (most == 0) return;
  stream.chain.foresee(most, foreseen_);
  for (const TokenId id : foreseen_) stream.draft.push(id, static_cast<std::int32_t>(stream.draft.size()) - 1);
  stream.foreseen = stream.draft.size() > 0;
}

void GenerationLoop::plan_prefill(Stream& stream, std::size_t spare_rows) {
  stream.base = stream.sequence->length();
  stream.draft.clear();
  stream.foreseen = false;
  const std::size_t left = stream.tokens.size() - static_cast<std::size_t>(stream.base);
  const int chunk = stream.request.options.prefill_chunk;
  stream.row_count = std::min({left, spare_rows, chunk > 0 ? static_cast<std::size_t>(chunk) : left});
  const bool last = stream.row_count == left;
  if (last) foresee(stream, spare_rows - stream.row_count);
  if (last && !stream.chain.plain()) constrain_draft(stream);
  add_rows(stream);
  if (!last) {
    stream.wanted_count = 0;
    wanted_.pop_back();
  }
}

/// Appends the stream's next row_count tokens and its draft; wants the last of them and every drafted one.
void GenerationLoop::add_rows(Stream& stream) {
  stream.first_row = rows_.size();
  stream.first_wanted = wanted_.size();
  stream.fed = stream.row_count;
  for (std::size_t k = 0; k < stream.row_count; ++k) {
    const auto row = static_cast<std::int32_t>(rows_.size());
    const auto position = static_cast<std::int32_t>(stream.base) + static_cast<std::int32_t>(k);
    rows_.push_back({stream.sequence, position, k == 0 ? -1 : row - 1});
    ids_.push_back(stream.tokens[static_cast<std::size_t>(position)]);
    positions_.push_back(position);
  }
  const auto root = static_cast<std::int32_t>(rows_.size()) - 1;
  wanted_.push_back(root);
  for (std::size_t i = 0; i < stream.draft.size(); ++i) {
    const std::int32_t parent = root + 1 + stream.draft.parents[i];
    wanted_.push_back(static_cast<std::int32_t>(rows_.size()));
    const std::int32_t position = rows_[static_cast<std::size_t>(parent)].position + 1;
    rows_.push_back({stream.sequence, position, parent});
    ids_.push_back(stream.draft.tokens[i]);
    positions_.push_back(position);
  }
  stream.row_count += stream.draft.size();
  stream.wanted_count = wanted_.size() - stream.first_wanted;
}

/// Asks the processors what they allow after the text and after each drafted token, drops drafted tokens that cannot
/// be drawn, and notes the masks of the rows that stay.
void GenerationLoop::constrain_draft(Stream& stream) {
  const auto note = [&](std::size_t wanted) -> Mask* {
    const auto allowed = stream.chain.allowed();
    if (!allowed) return nullptr;
    if (mask_count_ == masks_.size()) masks_.emplace_back();
    Mask& mask = masks_[mask_count_++];
    mask.wanted = wanted_.size() + wanted;
    mask.ids.assign(allowed->begin(), allowed->end());
    return &mask;
  };
  note(0);
  Draft& draft = stream.draft;
  pruned_.clear();
  std::vector<std::int32_t> place(draft.size(), -1);
  std::vector<TokenId> path;
  for (std::size_t i = 0; i < draft.size(); ++i) {
    const std::int32_t parent = draft.parents[i];
    if (parent >= 0 && place[static_cast<std::size_t>(parent)] < 0) continue;  // its parent was dropped
    const std::int32_t kept_parent = parent < 0 ? -1 : place[static_cast<std::size_t>(parent)];
    const Mask* mask = mask_of(wanted_.size() + static_cast<std::size_t>(kept_parent + 1));
    if (mask && !std::binary_search(mask->ids.begin(), mask->ids.end(), draft.tokens[i])) continue;
    place[i] = static_cast<std::int32_t>(pruned_.size());
    pruned_.push(draft.tokens[i], kept_parent);
    // Where tokens are forbidden no child counts as drawn: one that was dropped would have to count as refused. The
    // rule of a node must not depend on which child was drawn.
    if (!draft.drawn_from.empty()) pruned_.drawn_from.push_back(mask ? -1 : draft.drawn_from[i]);
    path.clear();
    for (std::int32_t node = place[i]; node >= 0; node = pruned_.parents[static_cast<std::size_t>(node)])
      path.push_back(pruned_.tokens[static_cast<std::size_t>(node)]);
    for (std::size_t k = path.size(); k-- > 0;) stream.chain.accept(path[k]);
    note(pruned_.size());
    stream.chain.rollback(static_cast<std::int64_t>(path.size()));
  }
  std::swap(draft.tokens, pruned_.tokens);
  std::swap(draft.parents, pruned_.parents);
  std::swap(draft.drawn_from, pruned_.drawn_from);
}

const GenerationLoop::Mask* GenerationLoop::mask_of(std::size_t wanted) const {
  for (std::size_t i = 0; i < mask_count_; ++i)
    if (masks_[i].wanted == wanted) return &masks_[i];
  return nullptr;
}

Result<void> GenerationLoop::execute() {
  best_.clear();
  const std::size_t needed = wanted_.size() * static_cast<std::size_t>(target_.vocabulary);
  if (logits_.size() < needed) {
    logits_ = {};  // first, so that the old ones and the new ones are never both there
    logits_.resize(needed);
  }
  bool tree = false;
  for (const auto& stream : running_) tree = tree || !stream->draft.is_chain();
  if (tree || mask_count_ > 0) return execute_by_parts(tree);
  KINGLET_CHECK(target_.engine->step(rows_, ids_, wanted_, logits_.data()));
  const auto best = target_.engine->best();
  best_.assign(best.begin(), best.end());  // a drafter may use the same engine before all streams have drawn
  return {};
}

Result<void> GenerationLoop::execute_by_parts(bool tree) {
  const auto width = static_cast<std::size_t>(target_.width), vocabulary = static_cast<std::size_t>(target_.vocabulary);
  if (hidden_.size() < rows_.size() * width) hidden_.resize(rows_.size() * width);
  Engine& engine = *target_.engine;
  KINGLET_CHECK(engine.embed(ids_, positions_, hidden_.data()));
  KINGLET_CHECK(engine.forward({.rows = rows_, .hidden = hidden_.data(), .tree = tree}));
  for (std::size_t w = 0; w < wanted_.size(); ++w)  // wanted ascends: the source is never behind the target
    std::memmove(hidden_.data() + w * width, hidden_.data() + static_cast<std::size_t>(wanted_[w]) * width,
                 width * sizeof(float));
  for (std::size_t w = 0; w < wanted_.size();) {
    const Mask* mask = mask_of(w);
    std::size_t end = w + 1;
    if (!mask)
      while (end < wanted_.size() && !mask_of(end)) ++end;
    const std::span<const TokenId> allowed = mask ? std::span<const TokenId>(mask->ids) : std::span<const TokenId>();
    if (!mask || !allowed.empty())  // an empty mask asks for no logits; the draw reports it
      KINGLET_CHECK(
          engine.head(hidden_.data() + w * width, static_cast<int>(end - w), allowed, logits_.data() + w * vocabulary));
    w = end;
  }
  return {};
}

}  // namespace kinglet
