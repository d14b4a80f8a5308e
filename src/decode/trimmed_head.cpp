#include "decode/trimmed_head.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/thread_pool.h"
#include "base/try.h"
#include "tensor/kernels/elementwise.h"

namespace kinglet {

Result<std::unique_ptr<TrimmedHead>> TrimmedHead::create(Engine& engine, std::vector<TokenId> ids) {
  const Model& model = engine.model();
  KINGLET_TRY(const auto checkpoint, open_checkpoint(model.path()));
  const TensorInfo* tensor = checkpoint->find(model.head ? "output.weight" : "token_embd.weight");
  if (tensor == nullptr || tensor->shape.size() != 2 || ids.empty() || ids.front() < 0 ||
      ids.back() >= tensor->rows() || tensor->columns() != model.config().width)
    return fail(ErrorCode::kUnsupported, "the model's output head is not stored in rows that could be chosen from", "",
                model.path());
  const auto plan = plan_packing(*tensor->type, static_cast<std::int64_t>(ids.size()), tensor->columns());
  KINGLET_TRY(const TensorData data, checkpoint->data(*tensor));
  const std::size_t row_bytes = tensor->bytes / static_cast<std::uint64_t>(tensor->rows());
  if (!plan || plan->source_row_bytes != row_bytes || data.bytes.size() < tensor->bytes)
    return fail(ErrorCode::kUnsupported, "the type of the model's output head cannot be packed by rows", "",
                model.path());
  std::unique_ptr<TrimmedHead> head(new TrimmedHead());
  std::vector<std::byte> rows(row_bytes * ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i)
    std::memcpy(rows.data() + i * row_bytes, data.bytes.data() + static_cast<std::size_t>(ids[i]) * row_bytes,
                row_bytes);
  head->plan_ = *plan;
  KINGLET_TRY(head->tiles_, AlignedMemory::allocate(head->bytes()));
  pack_tiles(*plan, rows.data(), 0, plan->tiles(), head->tiles_.data());
  if (plan->input == InputFormat::kInt8) head->quantized_.resize(quantized_row_bytes(plan->inputs));
  head->logits_.resize(ids.size());
  head->ids_ = std::move(ids);
  return head;
}

std::span<float> TrimmedHead::logits(Engine& engine, float* hidden) {
  engine.final_norm(hidden, 1);
  LinearInput x{.values = hidden, .value_stride = static_cast<std::size_t>(plan_.inputs), .rows = 1};
  if (!quantized_.empty()) {
    quantize_row(hidden, plan_.inputs, quantized_.data());
    x.quantized = quantized_.data();
    x.quantized_stride = quantized_.size();
  }
  engine.count_weights(bytes());
  ThreadPool& pool = engine.model().pool();
  pool.run([&](int thread) {
    const WorkShare share = work_share(plan_.tiles(), thread, pool.size());
    if (share.begin == share.end) return;
    const std::int64_t first = share.begin * kTileRows;
    const std::int64_t count = std::min(share.end * kTileRows, plan_.outputs) - first;
    multiply_tiles(plan_, tiles_.data() + static_cast<std::size_t>(share.begin) * plan_.tile_bytes,
                   static_cast<int>(share.end - share.begin), static_cast<int>(count), x, logits_.data() + first,
                   logits_.size());
    const float cap = static_cast<float>(engine.model().config().logit_softcap);
    if (cap != 0) elementwise().softcap(logits_.data() + first, cap, count, logits_.data() + first);
  });
  return logits_;
}

std::vector<TokenId> by_frequency(std::span<const std::uint64_t> occurrences, std::size_t count,
                                  const Tokenizer& tokenizer) {
  std::vector<TokenId> order(occurrences.size());
  std::iota(order.begin(), order.end(), 0);
  const auto more = [&](TokenId a, TokenId b) {
    const bool control_a = tokenizer.is_control(a), control_b = tokenizer.is_control(b);
    if (control_a != control_b) return control_a;
    const auto x = occurrences[static_cast<std::size_t>(a)], y = occurrences[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), more);
  order.resize(count);
  return order;
}

std::vector<TokenId> most_frequent(std::span<const std::uint64_t> occurrences, std::size_t count,
                                   const Tokenizer& tokenizer) {
  auto ids = by_frequency(occurrences, count, tokenizer);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace kinglet
