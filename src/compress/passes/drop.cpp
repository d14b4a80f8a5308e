// Attentions and feed-forwards left out, chosen by an evolutionary search (EvoPress, arXiv 2410.14649).
#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "compress/memory_checkpoint.h"
#include "compress/share/sub_blocks.h"
#include "compress/workbench.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr std::string_view kBy[] = {"search", "cosine", "window", "random"};

constexpr PassOption kOptions[] = {
    {.name = "attention",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Attentions to leave out",
     .fallback = "0",
     .min = 0,
     .max = 10000},
    {.name = "feed-forward",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Feed-forwards to leave out",
     .fallback = "0",
     .min = 0,
     .max = 10000},
    {.name = "by",
     .kind = PassOptionKind::kChoice,
     .help = "What the answers lose, searched for; what turns the hidden rows least; a run of whole layers; or chance",
     .fallback = "search",
     .choices = kBy},
    {.name = "generations",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Of the search",
     .fallback = "40",
     .min = 0,
     .max = 100000},
};

/// Layers whose entry is true, for a reader.
std::string listed(const std::vector<bool>& gone) {
  std::string text;
  for (std::size_t i = 0; i < gone.size(); ++i)
    if (gone[i]) text += (text.empty() ? "" : ", ") + std::to_string(i);
  return text.empty() ? "none" : text;
}

/// What is left out adds nothing: its matrices become products of rank 1, the second factor of zeros. (The first is not
/// zero, so that rounding with compensation after it has inputs to fit a second factor to.)
class Drop final : public Pass {
 public:
  explicit Drop(const PassOptions& options) {
    rule_ = {.attentions = static_cast<int>(options.integer("attention")),
             .feed_forwards = static_cast<int>(options.integer("feed-forward")),
             .by = static_cast<SubBlockChoice>(std::find(std::begin(kBy), std::end(kBy), options.text("by")) - kBy),
             .generations = static_cast<int>(options.integer("generations"))};
    place_ = options.place(options.given("attention") ? "attention" : "feed-forward");
  }

  Result<PassPlan> plan(PassContext& context) override {
    auto gone = choose_sub_blocks(context, rule_);
    if (!gone) {
      Error error = std::move(gone).error();
      if (error.code == ErrorCode::kInvalidArgument) error.place = place_;
      return tl::unexpected(std::move(error));
    }
    KINGLET_TRY(plan_, copying_plan(context));
    std::vector<FactoredMatrix> products;
    std::vector<PassPlan::Tensor> tensors;
    for (PassPlan::Tensor& tensor : plan_.tensors) {
      const auto layer = static_cast<std::size_t>(tensor.block - 1);
      const bool attention = tensor.name.find(".attn_") != std::string::npos;
      if (!is_layer_matrix(tensor.name) || !(attention ? gone->attention : gone->feed_forward)[layer]) {
        tensors.push_back(std::move(tensor));
        continue;
      }
      products.push_back({std::string(kLowRankCodec), tensor.name, tensor.shape[0], tensor.shape[1]});
      const BlockType* type = find_block_type("F16");
      tensors.push_back({products.back().factor(0), type, {1, tensor.shape[1]}, tensor.block, {}, 0});
      tensors.push_back({products.back().factor(1), type, {tensor.shape[0], 1}, tensor.block, {}, 0});
    }
    plan_.tensors = std::move(tensors);
    set_factored_matrices(plan_.metadata, products);
    plan_.metadata.erase("general.file_type");
    plan_.notes.push_back("attentions left out: " + listed(gone->attention) +
                          "; feed-forwards left out: " + listed(gone->feed_forward));
    plan_.memory_bytes = 3 * context.source->file_bytes();
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      if (tensor.block != block || sink.finished(tensor.name)) continue;
      if (matrix_of_factor(tensor.name).empty())
        KINGLET_CHECK(copy_tensor(context, tensor, sink));
      else
        KINGLET_CHECK(sink.put(tensor.name, factor(tensor)));
    }
    return {};
  }

  Result<TensorData> preview(PassContext&, std::string_view name) override {
    const auto tensor = std::find_if(plan_.tensors.begin(), plan_.tensors.end(),
                                     [&](const PassPlan::Tensor& each) { return each.name == name; });
    if (tensor == plan_.tensors.end() || matrix_of_factor(name).empty())
      return fail(ErrorCode::kNotFound, "there is no tensor '" + std::string(name) + "'");
    return own_bytes(factor(*tensor));
  }

 private:
  static std::vector<std::byte> factor(const PassPlan::Tensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes());
    const bool first = tensor.name.ends_with(".0");
    const std::vector<float> values(static_cast<std::size_t>(tensor.elements()),
                                    first ? 1 / std::sqrt(static_cast<float>(tensor.elements())) : 0.0f);
    tensor.type->encode(values.data(), values.size(), nullptr, bytes.data());
    return bytes;
  }

  SubBlockRule rule_;
  std::string place_;
  PassPlan plan_;
};

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions&) {
  const auto refuse = [](const char* why) { return fail(ErrorCode::kUnsupported, why); };
  if (checkpoint.find("token_embd.weight") == nullptr || layer_count(checkpoint) == 0)
    return refuse("drop runs the model on calibration text, and this is no language model");
  if (checkpoint.metadata().contains(kLayerMapKey) || checkpoint.metadata().contains(kFactorsKey))
    return refuse("drop does not know layers that share matrices, nor matrices that are products");
  for (int layer = 0; layer < layer_count(checkpoint); ++layer)
    for (const bool attention : {true, false}) {
      const std::string name = sub_block_output(layer, attention);
      if (!checkpoint.find(name)) return refuse("the model's layers have no attention or no feed-forward");
      if (checkpoint.find(name.substr(0, name.rfind('.')) + ".bias"))
        return refuse("what is left out would still add its bias");
    }
  return {};
}

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  if (options.integer("attention") + options.integer("feed-forward") == 0)
    return fail(ErrorCode::kInvalidArgument, "drop has nothing to do", "attention: 4 or feed-forward: 4",
                options.place(""));
  return std::make_unique<Drop>(options);
}

}  // namespace

extern const PassDescriptor pass_drop = {
    .name = "drop",
    .paper = "037",
    .help = "Leaves attentions and feed-forwards out, chosen by what the answers lose",
    .applicability = "models that generate text and whose layers add to the residual stream without biases",
    .options = kOptions,
    .accepts = accepts,
    .make = make,
    .stage = PassStage::kStructure,
};

}  // namespace kinglet
