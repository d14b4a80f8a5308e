// The layers' matrices as additive codebooks (AQLM, arXiv 2401.06118): each is fitted on the inputs that the compressed
// model before it gives on calibration text, and makes up for what was lost before it, as in the pass gptq.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize/additive.h"
#include "compress/quantize/sequential.h"
#include "kinglet/factors.h"
#include "kinglet/pass.h"
#include "model/additive_format.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

constexpr PassOption kOptions[] = {
    {.name = "tensors",
     .kind = PassOptionKind::kList,
     .value_name = "PATTERN",
     .help = "Matrices of the layers by name, * stands for any text; without it all of them"},
    {.name = "codebooks",
     .kind = PassOptionKind::kInteger,
     .value_name = "M",
     .help = "Codebooks of 256 entries of 8 weights: so many bits a weight, and what they take themselves",
     .fallback = "2",
     .min = 1,
     .max = kAdditiveMostBooks},
    {.name = "tokens",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of calibration text",
     .fallback = "8192",
     .min = 16,
     .max = 1 << 24},
    {.name = "damping",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Added to the diagonal of the second moments, as a share of its mean",
     .fallback = "0.2",
     .min = 1e-6,
     .max = 10},
    {.name = "correction",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "How much of what was lost before a matrix it has to make up for; 0: each is fitted to itself",
     .fallback = "1",
     .min = 0,
     .max = 1},
    {.name = "rounds",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Most rounds of choosing codes, entries and scales in turn",
     .fallback = "4",
     .min = 0,
     .max = 1000},
};

/// What the sequence of a model's matrices needs beside the maker: nothing is rounded to block types.
class NoStore final : public RoundedStore {
 public:
  bool finished(std::string_view) const override { return false; }
  Result<std::vector<std::byte>> read(std::string_view name) const override {
    return fail(ErrorCode::kInternal, std::string(name) + " was not made by this pass");
  }
  Result<void> put(RoundedMatrix matrix) override {
    return fail(ErrorCode::kInternal, matrix.name + " was not asked for");
  }
};

class Aqlm final : public Pass, public MatrixMaker {
 public:
  explicit Aqlm(const PassOptions& options) : place_(options.place("tensors")) {
    if (const RecipeNode* node = options.node("tensors"))
      for (const RecipeNode& item : node->items) patterns_.push_back(item.text);
    fit_.books = static_cast<int>(options.integer("codebooks"));
    fit_.rounds = static_cast<int>(options.integer("rounds"));
    tokens_ = static_cast<std::size_t>(options.integer("tokens"));
    settings_.damping = options.number("damping");
    settings_.correction = options.number("correction");
    settings_.maker = this;
  }

  Result<PassPlan> plan(PassContext& context) override;
  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      if (tensor.block != block || matrices_.contains(matrix_of_factor(tensor.name)) || sink.finished(tensor.name))
        continue;
      KINGLET_CHECK(copy_tensor(context, tensor, sink));
    }
    sink_ = &sink;
    finished_ = &sink;
    return work(context, block);
  }
  Result<void> skip(PassContext& context, int block, const TensorSink& sink) override {
    sink_ = nullptr;
    finished_ = &sink;
    return work(context, block);
  }

  bool makes(std::string_view name) const override { return matrices_.contains(name); }
  bool finished(std::string_view name) const override {
    const FactoredMatrix& matrix = matrices_.find(name)->second;
    return finished_->finished(matrix.factor(0)) && finished_->finished(matrix.factor(1)) &&
           finished_->finished(matrix.factor(2));
  }
  Result<std::unique_ptr<PackedMatrix>> make(std::string_view name, std::span<const float> targets,
                                             std::span<const float> moment, ThreadPool& pool) override;
  Result<std::unique_ptr<PackedMatrix>> restore(std::string_view name) override {
    const FactoredMatrix& matrix = matrices_.find(name)->second;
    std::vector<std::byte> parts[3];
    for (int i = 0; i < 3; ++i) {
      KINGLET_TRY(parts[i], finished_->read(matrix.factor(i)));
    }
    return pack(matrix, std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
  }

 private:
  bool is_taken(const PassPlan::Tensor& tensor) const;
  std::vector<std::int64_t> shape(const FactoredMatrix& matrix, int part) const {
    if (part == 0) return {matrix.outputs, fit_.books * (matrix.inputs / kAdditiveGroup)};
    if (part == 1) return {fit_.books * kAdditiveEntries, kAdditiveGroup};
    return {matrix.outputs};
  }
  Result<std::unique_ptr<PackedMatrix>> pack(const FactoredMatrix& matrix, std::vector<std::byte> codes,
                                             std::vector<std::byte> entries, std::vector<std::byte> scales) const;
  Result<void> work(PassContext& context, int block);

  std::string place_;
  std::vector<std::string> patterns_;
  std::size_t tokens_ = 0;
  AdditiveOptions fit_;
  SequentialOptions settings_;
  PassPlan plan_;
  std::map<std::string, FactoredMatrix, std::less<>> matrices_;
  TensorSink* sink_ = nullptr;
  const TensorSink* finished_ = nullptr;
  std::unique_ptr<SequentialRounding> rounding_;
};

bool Aqlm::is_taken(const PassPlan::Tensor& tensor) const {
  constexpr std::string_view kKinds[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
  if (!tensor.name.starts_with("blk.") || tensor.shape.size() != 2 || tensor.shape[1] % kBlockInputs != 0) return false;
  const std::size_t dot = tensor.name.find('.', 4);
  const bool known = dot != std::string::npos && std::any_of(std::begin(kKinds), std::end(kKinds), [&](auto kind) {
                       return tensor.name.substr(dot + 1) == std::string(kind) + ".weight";
                     });
  return known && (patterns_.empty() || std::any_of(patterns_.begin(), patterns_.end(), [&](const auto& pattern) {
                     return matches_pattern(pattern, tensor.name);
                   }));
}

Result<PassPlan> Aqlm::plan(PassContext& context) {
  KINGLET_TRY(PassPlan whole, copying_plan(context));
  KINGLET_TRY(auto list, factored_matrices(whole.metadata));
  plan_ = whole;
  plan_.tensors.clear();
  std::uint64_t bytes = 0, weights = 0;
  for (PassPlan::Tensor& tensor : whole.tensors) {
    if (!is_taken(tensor)) {
      plan_.tensors.push_back(std::move(tensor));
      continue;
    }
    list.push_back({std::string(kAdditiveCodec), tensor.name, tensor.shape[0], tensor.shape[1]});
    for (int part = 0; part < 3; ++part) {
      plan_.tensors.push_back(
          {list.back().factor(part), find_block_type(part < 2 ? "I8" : "F32"), shape(list.back(), part), tensor.block});
      bytes += plan_.tensors.back().bytes();
    }
    weights += static_cast<std::uint64_t>(tensor.shape[0] * tensor.shape[1]);
    matrices_.emplace(tensor.name, list.back());
  }
  if (matrices_.empty())
    return fail(ErrorCode::kInvalidArgument, "no matrix of a layer matches, or none has rows of a multiple of 32",
                "kinglet inspect MODEL lists the names.", place_);
  set_factored_matrices(plan_.metadata, list);
  plan_.metadata.erase("general.file_type");
  char note[120];
  std::snprintf(note, sizeof note, "additive codebooks: %.3f bits a weight with their entries and scales",
                8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
  plan_.notes.push_back(note);
  fit_.seed = context.seed;
  return plan_;
}

Result<void> Aqlm::work(PassContext& context, int block) {
  const int layers = layer_count(*context.source);
  if (block == 0 || block > layers) return {};
  if (!rounding_) {
    KINGLET_TRY(const auto tokenizer, load_tokenizer(context.source->metadata()));
    KINGLET_TRY(const CalibrationOptions how, calibration_options(*context.source, tokens_));
    KINGLET_TRY(auto windows, calibration_windows(*tokenizer, context.text, how));
    KINGLET_TRY(rounding_, SequentialRounding::create(*context.source, std::move(windows), context.pool->size()));
    rounding_->start({}, settings_);
  }
  NoStore store;
  return rounding_->layer(block - 1, store);
}

std::vector<std::byte> bytes_of(const auto& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(values[0]));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

Result<std::unique_ptr<PackedMatrix>> Aqlm::make(std::string_view name, std::span<const float> targets,
                                                 std::span<const float> moment, ThreadPool& pool) {
  const FactoredMatrix& matrix = matrices_.find(name)->second;
  const AdditiveMatrix fitted = fit_additive(targets, matrix.outputs, matrix.inputs, moment, fit_, pool);
  std::vector<std::byte> parts[] = {bytes_of(fitted.codes), bytes_of(fitted.entries), bytes_of(fitted.scales)};
  for (int i = 0; i < 3; ++i)
    if (!sink_->finished(matrix.factor(i))) {
      KINGLET_CHECK(sink_->put(matrix.factor(i), parts[i]));
    }
  return pack(matrix, std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
}

Result<std::unique_ptr<PackedMatrix>> Aqlm::pack(const FactoredMatrix& matrix, std::vector<std::byte> codes,
                                                 std::vector<std::byte> entries, std::vector<std::byte> scales) const {
  Metadata metadata;
  set_factored_matrices(metadata, std::span(&matrix, 1));
  MemoryCheckpoint checkpoint(std::move(metadata));
  std::vector<std::byte>* parts[] = {&codes, &entries, &scales};
  for (int i = 0; i < 3; ++i)
    checkpoint.add(matrix.factor(i), *find_block_type(i < 2 ? "I8" : "F32"), shape(matrix, i),
                   own_bytes(std::move(*parts[i])));
  return pack_matrix(checkpoint, matrix.name);
}

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions&) {
  if (checkpoint.find("token_embd.weight") == nullptr || layer_count(checkpoint) == 0) {
    return fail(ErrorCode::kUnsupported, "aqlm runs the model on calibration text, and this is no language model",
                "The pass quantize works on any tensors.");
  }
  return {};
}

Result<std::unique_ptr<Pass>> make_pass(const PassOptions& options) { return std::make_unique<Aqlm>(options); }

}  // namespace

extern const PassDescriptor pass_aqlm = {
    .name = "aqlm",
    .paper = "069",
    .help = "Stores the layers' matrices as sums of entries of learned codebooks, about 1 to 4 bits a weight",
    .applicability =
        "models that Kinglet runs, rows of multiples of 32; needs calibration text (there is a built-in one)",
    .options = kOptions,
    .accepts = accepts,
    .make = make_pass,
};

}  // namespace kinglet
