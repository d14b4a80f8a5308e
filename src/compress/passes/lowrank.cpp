// Matrices as products of two thin ones: the singular vectors that matter most for the outputs on calibration text.
// Greenformers, arXiv 2108.10808 (LED), with the card's whitening.
#include <algorithm>
#include <cmath>

#include "base/size.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/factorize/problems.h"
#include "compress/factorize/ranks.h"
#include "compress/plan/sensitivity.h"
#include "kinglet/convert.h"
#include "kinglet/factors.h"
#include "kinglet/model.h"
#include "kinglet/pass.h"

namespace kinglet {
namespace {

constexpr std::string_view kSolvers[] = {"svd", "random"};

constexpr PassOption kOptions[] = {
    {.name = "rank",
     .kind = PassOptionKind::kNumber,
     .value_name = "R",
     .help = "Below 1: share of the rank at which two factors are as large as the matrix; otherwise the rank",
     .min = 0.001,
     .max = 1 << 20},
    {.name = "energy",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Share of the squared outputs that each matrix keeps",
     .min = 0.001,
     .max = 1},
    {.name = "bytes", .value_name = "SIZE", .help = "Most bytes of the file: ranks are chosen by what they cost"},
    {.name = "only",
     .kind = PassOptionKind::kList,
     .value_name = "PATTERN",
     .help = "Matrices to factorise; without it, all of the layers"},
    {.name = "whiten",
     .kind = PassOptionKind::kFlag,
     .help = "Weigh errors by what the inputs are on calibration text; false is plain SVD",
     .fallback = "true"},
    {.name = "factor-type",
     .value_name = "T",
     .help = "Type of the factors; without it the matrix's own, or f16 where that has blocks"},
    {.name = "solver",
     .kind = PassOptionKind::kChoice,
     .help = "svd, or random factors to train from",
     .fallback = "svd",
     .choices = kSolvers},
    {.name = "balanced",
     .kind = PassOptionKind::kFlag,
     .help = "Give both factors the singular values' roots, for further training",
     .fallback = "false"},
    {.name = "tokens",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of calibration text",
     .fallback = "16384",
     .min = 16,
     .max = 1 << 24},
    {.name = "damping",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Added to the diagonal of the second moments, as a share of its mean",
     .fallback = "0.01",
     .min = 1e-6,
     .max = 1e6},
    {.name = "multiple",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Ranks are multiples of it, so that factors fit block types",
     .fallback = "32",
     .min = 1,
     .max = 1024},
    {.name = "min-gain",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "A matrix that does not become smaller by this share stays whole",
     .fallback = "0.1",
     .min = 0,
     .max = 1},
    {.name = "force",
     .kind = PassOptionKind::kFlag,
     .help = "Factors of exactly the rank, even where they are larger than the matrix",
     .fallback = "false"},
};

bool is_layer_matrix(std::string_view name) {
  return std::any_of(std::begin(kLayerMatrixKinds), std::end(kLayerMatrixKinds), [&](std::string_view kind) {
    return name.starts_with("blk.") && name.ends_with("." + std::string(kind) + ".weight");
  });
}

bool is_float(const BlockType& type) { return type.block_values == 1 && type.encode != nullptr; }

class LowRank final : public Pass {
 public:
  LowRank(const PassOptions& options, const BlockType* type, std::uint64_t bytes) : type_(type), bytes_(bytes) {
    rule_ = {.ratio = options.given("rank") ? options.number("rank") : 0,
             .energy = options.given("energy") ? options.number("energy") : 0,
             .multiple = options.integer("multiple"),
             .min_gain = options.number("min-gain"),
             .force = options.flag("force")};
    problem_ = {.moments = options.flag("whiten") && options.text("solver") == "svd",
                .tokens = static_cast<std::size_t>(options.integer("tokens")),
                .damping = options.number("damping")};
    random_ = options.text("solver") == "random";
    balanced_ = options.flag("balanced");
    place_ = options.place("only");
    if (const RecipeNode* only = options.node("only"))
      for (const RecipeNode& each : only->items) only_.push_back(each.text);
  }

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(const PassPlan whole, copying_plan(context));
    KINGLET_CHECK(find_matrices(*context.source));
    if (rule_.energy > 0 || bytes_ > 0) {
      KINGLET_CHECK(measure(context));
    }
    if (bytes_ > 0) {
      KINGLET_CHECK(fit_bytes(whole));
    } else {
      choose_ranks(rule_, matrices_);
    }
    const auto factored = std::count_if(matrices_.begin(), matrices_.end(), [](const auto& m) { return m.rank > 0; });
    if (factored == 0)
      return fail(ErrorCode::kInvalidArgument, "no matrix would become smaller as two factors",
                  "Ask for lower ranks, or name a smaller factor-type.", place_);
    KINGLET_TRY(plan_, planned(whole));
    const auto left = static_cast<std::ptrdiff_t>(matrices_.size()) - factored;
    if (left > 0)
      plan_.notes.push_back(std::to_string(left) + " of " + std::to_string(matrices_.size()) +
                            " matrices stay whole: factors would not be smaller");
    return plan_;
  }

  Result<void> run(PassContext& context, int, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors)
      if (!is_made(tensor.name)) KINGLET_CHECK(copy_tensor(context, tensor, sink));
    std::vector<std::string> missing;
    for (const RankedMatrix& matrix : matrices_) {
      const FactoredMatrix name{.codec = {}, .name = matrix.name};
      if (matrix.rank > 0 && !(sink.finished(name.factor(0)) && sink.finished(name.factor(1))))
        missing.push_back(matrix.name);
    }
    return each_problem(context, missing, problem_,
                        [&](const TensorInfo& tensor, const LowRankProblem& problem) -> Result<void> {
                          return make_factors(context, tensor.name, problem, sink);
                        });
  }

 private:
  const RankedMatrix& ranked(std::string_view name) const {
    return *std::find_if(matrices_.begin(), matrices_.end(), [&](const auto& each) { return each.name == name; });
  }
  bool is_made(std::string_view tensor) const {
    const std::string_view matrix = matrix_of_factor(tensor);
    return !matrix.empty() && std::any_of(matrices_.begin(), matrices_.end(),
                                          [&](const auto& each) { return each.rank > 0 && each.name == matrix; });
  }

  Result<void> find_matrices(const Checkpoint& source) {
    matrices_.clear();
    std::vector<bool> used(only_.size(), false);
    for (const TensorInfo& tensor : source.tensors()) {
      if (tensor.shape.size() != 2 || !tensor.type->decode) continue;
      bool wanted = only_.empty() && is_layer_matrix(tensor.name);
      for (std::size_t i = 0; i < only_.size(); ++i) {
        if (!matches_pattern(only_[i], tensor.name)) continue;
        const bool head = tensor.name == "token_embd.weight" || tensor.name == "output.weight";
        if (!is_layer_matrix(tensor.name) && !head) continue;
        wanted = used[i] = true;
      }
      if (!wanted) continue;
      const BlockType* type = type_ ? type_ : is_float(*tensor.type) ? tensor.type : find_block_type("F16");
      matrices_.push_back({tensor.name, tensor.rows(), tensor.columns(), tensor.bytes, type});
    }
    for (std::size_t i = 0; i < only_.size(); ++i)
      if (!used[i])
        return fail(ErrorCode::kInvalidArgument,
                    "no matrix of this model that could be factorised matches '" + only_[i] + "'",
                    "kinglet inspect MODEL lists the names; factors are not factorised again.", place_);
    if (matrices_.empty())
      return fail(ErrorCode::kUnsupported, "the model has no matrices in layers that could be factorised");
    return {};
  }

  Result<void> measure(PassContext& context) {
    std::vector<std::string> names;
    for (const RankedMatrix& matrix : matrices_) names.push_back(matrix.name);
    KINGLET_TRY(const auto spectra, spectra_of(context, names, problem_));
    for (std::size_t i = 0; i < spectra.size(); ++i) {
      matrices_[i].energies = spectra[i];
      if (spectra[i].size() != static_cast<std::size_t>(matrices_[i].full_rank()))
        return fail(ErrorCode::kInternal, "a spectrum of " + std::to_string(spectra[i].size()) + " values");
    }
    if (bytes_ == 0) return {};
    const auto known = measure_sensitivities(context);
    if (!known && known.error().code == ErrorCode::kCancelled) return tl::unexpected(known.error());
    for (RankedMatrix& matrix : matrices_)
      if (known && known->contains(matrix.name)) matrix.sensitivity = known->at(matrix.name);
    return {};
  }

  /// The budget of the matrices, lowered until the whole file with its header and padding fits.
  Result<void> fit_bytes(const PassPlan& whole) {
    std::uint64_t all = 0;
    for (const RankedMatrix& matrix : matrices_) all += matrix.bytes;
    std::int64_t budget = static_cast<std::int64_t>(all);
    for (;;) {
      if (budget <= 0 || !choose_ranks_within(rule_, static_cast<std::uint64_t>(budget), matrices_))
        return fail(ErrorCode::kInvalidArgument, "the file cannot have " + std::to_string(bytes_) + " bytes",
                    "The smallest ranks, or the other tensors alone, are larger: quantize in a step of its own.",
                    place_);
      KINGLET_TRY(const PassPlan planned_file, planned(whole));
      std::vector<GgufWriter::Plan> plans;
      for (const PassPlan::Tensor& tensor : planned_file.tensors)
        plans.push_back({tensor.name, tensor.type, tensor.shape});
      const auto size = static_cast<std::int64_t>(GgufWriter::predicted_bytes(planned_file.metadata, plans));
      if (size <= static_cast<std::int64_t>(bytes_)) return {};
      budget -= size - static_cast<std::int64_t>(bytes_);
    }
  }

  Result<PassPlan> planned(const PassPlan& whole) const {
    PassPlan plan = whole;
    plan.blocks = 1;
    plan.tensors.clear();
    KINGLET_TRY(auto list, factored_matrices(plan.metadata));
    std::uint64_t widest = 0;
    for (PassPlan::Tensor tensor : whole.tensors) {
      tensor.block = 0;
      const auto found = std::find_if(matrices_.begin(), matrices_.end(),
                                      [&](const auto& each) { return each.rank > 0 && each.name == tensor.name; });
      if (found == matrices_.end()) {
        plan.tensors.push_back(std::move(tensor));
        continue;
      }
      list.push_back({std::string(kLowRankCodec), found->name, found->outputs, found->inputs});
      const FactoredMatrix& name = list.back();
      const std::int64_t shapes[2][2] = {{found->rank, found->inputs}, {found->outputs, found->rank}};
      for (int i = 0; i < 2; ++i)
        plan.tensors.push_back(
            {name.factor(i), factor_type(*found->type, shapes[i][1]), {shapes[i][0], shapes[i][1]}, 0});
      widest = std::max(widest, static_cast<std::uint64_t>(found->inputs + found->outputs));
    }
    set_factored_matrices(plan.metadata, list);
    plan.metadata.erase("general.file_type");
    plan.memory_bytes = 64 * widest * widest;  // moments, their root, products and eigenvectors, most in f64
    return plan;
  }

  Result<void> make_factors(PassContext& context, const std::string& name, const LowRankProblem& problem,
                            TensorSink& sink) {
    const RankedMatrix& matrix = ranked(name);
    const std::int64_t rank = matrix.rank;
    ThinFactors thin;
    if (random_) {
      thin = random_factors(problem, rank,
                            context.seed * 1000003 + static_cast<std::uint64_t>(&matrix - matrices_.data()));
    } else {
      KINGLET_TRY(const LowRankSolution solution, LowRankSolution::solve(problem, rank, *context.pool));
      thin = solution.factors(problem, rank, balanced_, *context.pool);
    }
    const std::vector<float>* values[] = {&thin.encoder, &thin.decoder};
    for (int i = 0; i < 2; ++i) {
      const std::string tensor = name + "." + std::to_string(i);
      if (sink.finished(tensor)) continue;
      const BlockType& type = *factor_type(*matrix.type, i == 0 ? problem.inputs : rank);
      std::vector<std::byte> bytes(type.row_bytes(values[i]->size()));
      type.encode(values[i]->data(), values[i]->size() / static_cast<std::size_t>(type.block_values), nullptr,
                  bytes.data());
      KINGLET_CHECK(sink.put(tensor, bytes));
    }
    return {};
  }

  RankRule rule_;
  ProblemOptions problem_;
  const BlockType* type_;
  std::uint64_t bytes_;
  bool random_ = false, balanced_ = false;
  std::vector<std::string> only_;
  std::string place_;
  std::vector<RankedMatrix> matrices_;
  PassPlan plan_;
};

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  const int ways = options.given("rank") + options.given("energy") + options.given("bytes");
  if (ways != 1)
    return fail(ErrorCode::kInvalidArgument, "lowrank takes one of rank, energy and bytes",
                "rank: 0.75, energy: 0.98 or bytes: 80MB", options.place(""));
  if (options.flag("force") && options.given("bytes"))
    return fail(ErrorCode::kInvalidArgument, "force does not go with bytes", "", options.place("force"));
  KINGLET_TRY(const BlockType* type, options.type("factor-type"));
  KINGLET_TRY(const std::uint64_t bytes, options.bytes("bytes"));
  return std::make_unique<LowRank>(options, type, bytes);
}

}  // namespace

extern const PassDescriptor pass_lowrank = {
    .name = "lowrank",
    .paper = "043",
    .help = "Stores matrices as products of two thin ones, weighted by their inputs on calibration text",
    .applicability = "models that Kinglet runs, encoders too; worth it where the spectra fall: few matrices of LLMs",
    .options = kOptions,
    .make = make,
    .stage = PassStage::kStructure,
};

}  // namespace kinglet
