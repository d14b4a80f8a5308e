// Layers left out, and layers that share their matrices (FoldGPT, arXiv 2407.00928, without its training).
#include <cmath>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/report/parts.h"
#include "compress/share/choose_layers.h"
#include "kinglet/architecture.h"
#include "kinglet/layer_map.h"
#include "kinglet/measure.h"
#include "kinglet/pass.h"
#include "model/configure.h"

namespace kinglet {
namespace {

constexpr std::string_view kBy[] = {"influence", "divergence"};
constexpr std::string_view kNorms[] = {"own", "shared"};
constexpr std::size_t kJudged = 2;           // windows that a removal is judged on
constexpr std::int64_t kJudgedTokens = 256;  // of each

constexpr PassOption kOptions[] = {
    {.name = "remove",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Layers to leave out: below 1 a share, otherwise how many",
     .fallback = "0",
     .min = 0,
     .max = 10000},
    {.name = "depth",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Instead: keep the first N layers, which is what --early-exit N:0 draws from; 0: all",
     .fallback = "0",
     .min = 0,
     .max = 10000},
    {.name = "by",
     .kind = PassOptionKind::kChoice,
     .help = "What goes or pairs: what changes hidden rows least, or, one by one, what changes the answers least",
     .fallback = "influence",
     .choices = kBy},
    {.name = "share",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Neighbours that share one set of matrices; 1: none",
     .fallback = "1",
     .min = 1,
     .max = 1000},
    {.name = "pairs",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Instead of all layers, so many pairs of neighbours share: the most alike",
     .fallback = "0",
     .min = 0,
     .max = 1000},
    {.name = "norms",
     .kind = PassOptionKind::kChoice,
     .help = "Whether layers that share matrices keep their own norms",
     .fallback = "own",
     .choices = kNorms},
    {.name = "random",
     .kind = PassOptionKind::kFlag,
     .help = "Any layers inside, by the seed: what a choice has to beat",
     .fallback = "false"},
    {.name = "expand",
     .kind = PassOptionKind::kFlag,
     .help = "Give every layer matrices of its own again: a file that other programs read",
     .fallback = "false"},
    {.name = "tokens",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of calibration text",
     .fallback = "4096",
     .min = 16,
     .max = 1 << 22},
};

class Fold final : public Pass {
 public:
  explicit Fold(const PassOptions& options) {
    rule_ = {.remove = options.number("remove"),
             .share = options.integer("share"),
             .pairs = options.integer("pairs"),
             .divergence = options.text("by") == "divergence",
             .random = options.flag("random"),
             .norms = options.text("norms") == "own" ? FoldedNorms::kOwn : FoldedNorms::kDonors};
    expand_ = options.flag("expand");
    depth_ = static_cast<std::size_t>(options.integer("depth"));
    place_ = options.place(depth_ > 0 ? "depth" : options.given("remove") ? "remove" : "pairs");
    tokens_ = static_cast<std::size_t>(options.integer("tokens"));
  }

  Result<PassPlan> plan(PassContext& context) override {
    const Checkpoint& source = *context.source;
    KINGLET_TRY(const auto layers, source.metadata().integer(key_of(source.architecture(), "block_count"), 1, 1 << 20));
    std::vector<FoldedLayer> layout = whole_layout(static_cast<int>(layers));
    if (depth_ >= layout.size())
      return fail(ErrorCode::kInvalidArgument, "the model has " + std::to_string(layers) + " layers: nothing is cut",
                  "", place_);
    if (depth_ > 0) {
      layout.resize(depth_);
    } else if (!expand_) {
      KINGLET_TRY(layout, chosen(context));
    }
    KINGLET_TRY(folded_, FoldedCheckpoint::create(source, layout, rule_.norms));
    PassContext inside = context;
    inside.source = folded_.get();
    KINGLET_TRY(plan_, copying_plan(inside));
    describe(layout, static_cast<int>(layers));
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    PassContext inside = context;
    inside.source = folded_.get();
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (tensor.block == block) KINGLET_CHECK(copy_tensor(inside, tensor, sink));
    return {};
  }

 private:
  /// What stands in the notes and, for a later reader, in the metadata: the source's numbers of the layers.
  void describe(const std::vector<FoldedLayer>& layout, int layers) {
    std::string gone, shared;
    std::vector<bool> stays(static_cast<std::size_t>(layers), false);
    std::vector<std::int64_t> originals;
    for (const FoldedLayer& layer : layout) {
      stays[static_cast<std::size_t>(layer.original)] = true;
      originals.push_back(layer.original);
      if (layer.donor != layer.original)
        shared +=
            (shared.empty() ? "" : ", ") + std::to_string(layer.original) + " uses " + std::to_string(layer.donor);
    }
    for (int layer = 0; layer < layers; ++layer)
      if (!stays[static_cast<std::size_t>(layer)]) gone += (gone.empty() ? "" : ", ") + std::to_string(layer);
    if (!gone.empty()) plan_.notes.push_back("layers left out: " + gone);
    if (!shared.empty()) plan_.notes.push_back("layers that use another's matrices: " + shared);
    if (!gone.empty()) plan_.metadata.set_integers(kOriginalLayersKey, std::move(originals));
  }

  Result<std::vector<FoldedLayer>> chosen(PassContext& context) {
    KINGLET_TRY(auto model,
                Model::load(std::make_unique<BorrowedCheckpoint>(*context.source), {.threads = context.pool->size()}));
    KINGLET_TRY(const std::size_t window, calibration_window(*context.source));
    KINGLET_TRY(const auto windows,
                calibration_windows(model->tokenizer(), context.text, {.tokens = tokens_, .window = window}));
    KINGLET_TRY(const auto engine, Engine::create(model, {.context = static_cast<std::int64_t>(window) + 8}));
    const auto go_on = [&](double share) {
      if (context.progress) context.progress(share);
      return !(context.cancelled && context.cancelled());
    };
    KINGLET_TRY(const LayerSimilarity similarity, measure_layer_similarity(*engine, windows, go_on));
    std::vector<TextWindow> judged;
    if (rule_.divergence) {
      if (!model->config().causal)
        return fail(ErrorCode::kUnsupported, "by: divergence needs a model that generates text");
      KINGLET_TRY(judged, report_windows(model->tokenizer(), context.text, kJudgedTokens, kJudged));
    }
    const auto divergence_of = [&](const std::vector<FoldedLayer>& layout) -> Result<double> {
      if (!go_on(0)) return fail(ErrorCode::kCancelled, "interrupted");
      KINGLET_TRY(auto folded, FoldedCheckpoint::create(*context.source, layout));
      KINGLET_TRY(auto smaller,
                  Model::load(std::move(folded), {.threads = context.pool->size(), .with_tokenizer = false}));
      KINGLET_TRY(const auto its, Engine::create(smaller, {.context = kJudgedTokens + 8}));
      EvaluateOptions how;
      how.worst = 0;
      KINGLET_TRY(const Evaluation quality, evaluate(*its, engine.get(), judged, how));
      return quality.divergence->mean;
    };
    auto layout = choose_layout(rule_, model->config(), similarity, context.seed, divergence_of);
    if (layout || layout.error().code != ErrorCode::kInvalidArgument) return layout;
    Error error = std::move(layout).error();
    error.place = place_;
    return tl::unexpected(std::move(error));
  }

  FoldRule rule_;
  bool expand_ = false;
  std::size_t depth_ = 0;  ///< layers that stay from the first on; 0: chosen otherwise
  std::string place_;
  std::size_t tokens_ = 0;
  std::unique_ptr<FoldedCheckpoint> folded_;
  PassPlan plan_;
};

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions& options) {
  if (checkpoint.find("token_embd.weight") == nullptr || layer_count(checkpoint) == 0)
    return fail(ErrorCode::kUnsupported, "fold runs the model on calibration text, and this is no language model");
  const bool shares = checkpoint.metadata().contains(kLayerMapKey);
  if (shares && !options.flag("expand"))
    return fail(ErrorCode::kUnsupported, "layers of this model share matrices already",
                "fold: {expand: true} gives each its own again.");
  if (!shares && options.flag("expand"))
    return fail(ErrorCode::kUnsupported, "no layers of this model share matrices: there is nothing to expand");
  return {};
}

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  const bool removes = options.number("remove") > 0, cuts = options.integer("depth") > 0;
  const bool shares = options.integer("share") > 1 || options.integer("pairs") > 0;
  if (options.flag("expand") + cuts + (removes || shares) != 1)
    return fail(ErrorCode::kInvalidArgument,
                options.flag("expand") ? "expand goes with nothing else"
                : cuts                 ? "depth goes with nothing else"
                                       : "fold has nothing to do",
                "remove: 0.1, share: 2, pairs: 4, depth: 12, or expand: true", options.place(""));
  if (options.integer("share") > 1 && options.integer("pairs") > 0)
    return fail(ErrorCode::kInvalidArgument, "share and pairs exclude each other", "", options.place("pairs"));
  const double remove = options.number("remove");
  if (remove > 1 && remove != std::floor(remove))
    return fail(ErrorCode::kInvalidArgument, "remove takes a share below 1 or a whole number", "",
                options.place("remove"));
  return std::make_unique<Fold>(options);
}

}  // namespace

extern const PassDescriptor pass_fold = {
    .name = "fold",
    .paper = "053",
    .help = "Leaves layers out, and lets like neighbours share one set of matrices",
    .applicability = "models that Kinglet runs; without training after it, one or two layers of many",
    .options = kOptions,
    .accepts = accepts,
    .make = make,
    .stage = PassStage::kStructure,
};

}  // namespace kinglet
