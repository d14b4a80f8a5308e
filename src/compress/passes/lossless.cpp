// Matrices of 16-bit floats entropy-coded (DFloat11, arXiv 2504.11651): the same numbers, bit for bit.
#include <algorithm>
#include <cstdio>

#include "base/thread_pool.h"
#include "base/try.h"
#include "kinglet/pass.h"
#include "model/format/convert_parts.h"
#include "model/format/native_types.h"

namespace kinglet {
namespace {

class Lossless final : public Pass {
 public:
  /// Sizes must be known before the first tensor is written: every matrix is looked at now, and coded later.
  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(plan_, copying_plan(context));
    std::uint64_t plain = 0, coded = 0, largest = 0;
    for (PassPlan::Tensor& tensor : plan_.tensors) {
      if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
      const TensorInfo& info = *context.source->find(tensor.name);
      const BlockType* type = coded_type(tensor);
      if (!type) continue;
      KINGLET_TRY(const ConvertedTensor whole, converted_tensor(*context.source, info, *type, *context.pool));
      const FloatCodeSize size = float_code_size(*type, whole.bytes);
      if (!whole.lossless || size.bytes >= whole.bytes.size()) continue;
      tensor.type = type;
      tensor.codec = float_codec(*type);
      tensor.stored_bytes = size.bytes;
      plain += whole.bytes.size();
      coded += size.bytes;
      largest = std::max<std::uint64_t>(largest, whole.bytes.size());
    }
    if (coded == 0)
      return fail(ErrorCode::kUnsupported, "there is nothing to code without loss",
                  "That needs matrices of bf16, f16, or f32 that is bf16.");
    char note[96];
    std::snprintf(note, sizeof note, "coded matrices take %.2f %% of their 16 bits",
                  100.0 * static_cast<double>(coded) / static_cast<double>(plain));
    plan_.notes.emplace_back(note);
    plan_.memory_bytes = streaming_memory(*context.pool) + 2 * largest;
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      if (tensor.block != block || sink.finished(tensor.name)) continue;
      if (tensor.codec.empty()) {
        KINGLET_CHECK(copy_tensor(context, tensor, sink));
        continue;
      }
      if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
      const TensorInfo& info = *context.source->find(tensor.name);
      KINGLET_TRY(const ConvertedTensor whole, converted_tensor(*context.source, info, *tensor.type, *context.pool));
      KINGLET_TRY(const auto code, encode_floats(*tensor.type, whole.bytes));
      KINGLET_CHECK(sink.put(tensor.name, code));
    }
    return {};
  }

 private:
  /// The 16-bit type whose code holds a matrix: its own, or bf16 for f32, whose values may all be bf16.
  static const BlockType* coded_type(const PassPlan::Tensor& tensor) {
    if (tensor.shape.size() < 2) return nullptr;
    if (tensor.type->name == "F32") return find_block_type("BF16");
    return float_codec(*tensor.type) ? tensor.type : nullptr;
  }

  PassPlan plan_;
};

Result<std::unique_ptr<Pass>> make(const PassOptions&) { return std::make_unique<Lossless>(); }

}  // namespace

extern const PassDescriptor pass_lossless = {
    .name = "lossless",
    .paper = "026",
    .help = "Entropy-codes matrices of 16-bit floats, bit-exact; decoded when the model is loaded",
    .applicability = "bf16 and f16 matrices, and f32 that holds bf16 values; others stay as they are",
    .options = {},
    .make = make,
    .stage = PassStage::kCoding,
};

}  // namespace kinglet
