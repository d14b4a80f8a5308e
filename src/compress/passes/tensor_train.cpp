// Matrices as tensor trains (CompactifAI, arXiv 2401.14109): a chain of small tensors in place of each matrix, its
// bonds chosen by what the model loses (a measured profile) or alike for all.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/size.h"
#include "base/try.h"
#include "compress/factorize/train_split.h"
#include "compress/plan/choices.h"
#include "compress/plan/sensitivity.h"
#include "compress/workbench.h"
#include "kinglet/convert.h"
#include "kinglet/factors.h"
#include "kinglet/model.h"
#include "kinglet/pass.h"
#include "model/format/gguf.h"
#include "model/format/validate.h"
#include "model/tensor_train.h"

namespace kinglet {
namespace {

constexpr std::string_view kProfiles[] = {"measured", "none", "reversed"};
constexpr int kGrid = 24;  // bonds that are tried for a matrix, evenly by their logarithm

constexpr PassOption kOptions[] = {
    {.name = "bytes", .value_name = "SIZE", .help = "Most bytes of the file: bonds are chosen by the profile"},
    {.name = "ratio",
     .kind = PassOptionKind::kNumber,
     .value_name = "X",
     .help = "Share of its numbers that each matrix keeps",
     .min = 0.001,
     .max = 1},
    {.name = "bond",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "The bond of every cut; above the largest that a cut can have nothing is lost",
     .min = 1,
     .max = 1 << 20},
    {.name = "sites",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tensors of a chain",
     .fallback = "2",
     .min = 2,
     .max = kMostTrainSites},
    {.name = "profile",
     .kind = PassOptionKind::kChoice,
     .help =
         "How bytes are shared out: by how much the model's answers move with each matrix (measured), the same share "
         "for all (none), or the measured order upside down (reversed)",
     .fallback = "measured",
     .choices = kProfiles},
    {.name = "only",
     .kind = PassOptionKind::kList,
     .value_name = "PATTERN",
     .help = "Matrices to split; without it, those of the layers with min-numbers or more"},
    {.name = "min-numbers",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Smaller matrices stay whole, unless a pattern names them",
     .fallback = "260000",
     .min = 0,
     .max = 1e15},
    {.name = "factor-type",
     .value_name = "T",
     .help = "Type of the tensors of a chain; without it f32 where the matrix is f32, f16 otherwise"},
};

/// A matrix of the source that may become a chain.
struct Candidate {
  const TensorInfo* info = nullptr;
  const BlockType* type = nullptr;  ///< of the chain's tensors
  TrainShape full;                  ///< with the largest bonds
  std::int64_t bond = 0;            ///< 0: it stays whole
  std::vector<double> lost = {};    ///< share of the squares that each choice of `bonds` loses
  double sensitivity = 1;

  TrainShape with_bond(std::int64_t of) const {
    TrainShape shape = full;
    for (std::size_t s = 1; s + 1 < shape.bonds.size(); ++s) shape.bonds[s] = std::min(of, shape.bonds[s]);
    return shape;
  }
  const BlockType& site_type(const TrainShape& shape, int site) const {
    return *converted_type({.name = "site", .type = find_block_type("F32"), .shape = {1, shape.columns(site)}}, *type);
  }
  std::uint64_t bytes(std::int64_t of) const {
    const TrainShape shape = with_bond(of);
    std::uint64_t sum = 0;
    for (int s = 0; s < shape.sites(); ++s)
      sum += static_cast<std::uint64_t>(shape.rows(s)) *
             site_type(shape, s).row_bytes(static_cast<std::uint64_t>(shape.columns(s)));
    return sum;
  }
  std::int64_t most_bond() const { return *std::max_element(full.bonds.begin(), full.bonds.end()); }
  /// The largest bond with at most this share of the matrix's numbers; 0 where even 1 has more.
  std::int64_t bond_for(double ratio) const {
    const double most = ratio * static_cast<double>(info->elements());
    std::int64_t low = 0, high = most_bond();
    while (low < high) {
      const std::int64_t middle = (low + high + 1) / 2;
      (static_cast<double>(with_bond(middle).parameters()) <= most ? low : high) =
          static_cast<double>(with_bond(middle).parameters()) <= most ? middle : middle - 1;
    }
    return low;
  }
  /// Bonds worth trying: chains smaller than the matrix.
  std::vector<std::int64_t> bonds() const {
    std::vector<std::int64_t> list;
    std::int64_t last = 0;
    for (int i = 0; i < kGrid; ++i) {
      const auto bond =
          static_cast<std::int64_t>(std::lround(std::pow(static_cast<double>(most_bond()), (i + 1.0) / kGrid)));
      if (bond > last && bytes(bond) < info->bytes) list.push_back(last = bond);
    }
    return list;
  }
};

Result<std::vector<float>> values_of(const Checkpoint& source, const TensorInfo& info) {
  KINGLET_TRY(const TensorData data, source.data(info));
  std::vector<float> values(static_cast<std::size_t>(info.elements()));
  info.type->decode(data.bytes.data(), values.size() / static_cast<std::size_t>(info.type->block_values),
                    values.data());
  source.release(info, 0, info.bytes);
  for (float value : values)
    if (!std::isfinite(value))
      return fail(ErrorCode::kCorrupt, "tensor '" + printable(info.name) + "' holds values that are not finite");
  return values;
}

class TensorTrain final : public Pass {
 public:
  TensorTrain(const PassOptions& options, const BlockType* type, std::uint64_t bytes)
      : options_(options), type_(type), bytes_(bytes), sites_(static_cast<int>(options.integer("sites"))) {}

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(const PassPlan whole, copying_plan(context));
    KINGLET_CHECK(find_matrices(*context.source));
    if (bytes_ > 0) {
      KINGLET_CHECK(fit_bytes(context, whole));
    } else {
      for (Candidate& each : candidates_)
        each.bond = options_.given("bond") ? std::min<std::int64_t>(options_.integer("bond"), each.most_bond())
                                           : each.bond_for(options_.number("ratio"));
    }
    if (std::none_of(candidates_.begin(), candidates_.end(), [](const Candidate& each) { return each.bond > 0; }))
      return fail(ErrorCode::kInvalidArgument, "no matrix would be split", "Ask for a larger ratio or fewer bytes.",
                  options_.place(""));
    KINGLET_TRY(plan_, planned(whole));
    return plan_;
  }

  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    for (const PassPlan::Tensor& tensor : plan_.tensors) {
      if (tensor.block != block || sink.finished(tensor.name)) continue;
      const Candidate* owner = split(matrix_of_factor(tensor.name));
      if (owner == nullptr) {
        KINGLET_CHECK(copy_tensor(context, tensor, sink));
      } else {
        KINGLET_CHECK(make_sites(context, *owner, sink));
      }
    }
    return {};
  }

 private:
  const Candidate* split(std::string_view name) const {
    for (const Candidate& each : candidates_)
      if (each.bond > 0 && each.info->name == name) return &each;
    return nullptr;
  }

  Result<void> find_matrices(const Checkpoint& source) {
    candidates_.clear();
    std::vector<std::string> patterns;
    if (const RecipeNode* only = options_.node("only"))
      for (const RecipeNode& each : only->items) patterns.push_back(each.text);
    std::vector<bool> used(patterns.size(), false);
    for (const TensorInfo& tensor : source.tensors()) {
      if (tensor.shape.size() != 2 || !tensor.type->decode || !is_layer_matrix(tensor.name)) continue;
      bool wanted = patterns.empty() && tensor.elements() >= options_.integer("min-numbers");
      for (std::size_t i = 0; i < patterns.size(); ++i)
        if (matches_pattern(patterns[i], tensor.name)) wanted = used[i] = true;
      auto shape = train_shape(tensor.rows(), tensor.columns(), sites_);
      if (!wanted || !shape) continue;
      for (int s = 0; s + 1 < sites_; ++s) shape->bonds[static_cast<std::size_t>(s) + 1] = full_bond(*shape, s);
      const BlockType* type = type_ ? type_ : find_block_type(tensor.type->name == "F32" ? "F32" : "F16");
      candidates_.push_back({.info = &tensor, .type = type, .full = *shape});
    }
    for (std::size_t i = 0; i < patterns.size(); ++i)
      if (!used[i])
        return fail(ErrorCode::kInvalidArgument, "no matrix of a layer matches '" + patterns[i] + "'",
                    "kinglet inspect MODEL lists the names; chains are not split again.", options_.place("only"));
    if (candidates_.empty())
      return fail(ErrorCode::kUnsupported,
                  "the model has no matrices in layers that could be split into " + std::to_string(sites_) + " sites");
    return {};
  }

  /// Bytes of the file with the bonds as they are.
  Result<std::uint64_t> planned_bytes(const PassPlan& whole) const {
    KINGLET_TRY(const PassPlan plan, planned(whole));
    std::vector<GgufWriter::Plan> plans;
    for (const PassPlan::Tensor& tensor : plan.tensors) plans.push_back({tensor.name, tensor.type, tensor.shape});
    return GgufWriter::predicted_bytes(plan.metadata, plans);
  }

  Result<void> fit_bytes(PassContext& context, const PassPlan& whole) {
    const auto refused = [&] {
      return fail(ErrorCode::kInvalidArgument, "the file cannot have " + std::to_string(bytes_) + " bytes",
                  "The other tensors are larger: quantize in a step of its own, or name a smaller factor-type.",
                  options_.place("bytes"));
    };
    for (Candidate& each : candidates_) each.bond = each.bytes(1) < each.info->bytes ? 1 : 0;
    KINGLET_TRY(const std::uint64_t least, planned_bytes(whole));
    if (least > bytes_) return refused();  // before anything is measured
    const std::string profile = options_.text("profile");
    if (profile != "none") KINGLET_CHECK(measure(context, profile == "reversed"));
    std::uint64_t all = 0;
    for (const Candidate& each : candidates_) all += each.info->bytes;
    auto budget = static_cast<std::int64_t>(all);
    for (;;) {
      const bool possible = budget > 0 && (profile == "none" ? share_alike(budget) : allocate_within(budget));
      if (!possible) return refused();
      KINGLET_TRY(const std::uint64_t size, planned_bytes(whole));
      if (size <= bytes_) return {};
      budget -= static_cast<std::int64_t>(size - bytes_);
    }
  }

  /// Spectra of all candidates, and the model's sensitivities.
  Result<void> measure(PassContext& context, bool reversed) {
    for (Candidate& each : candidates_) {
      if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
      KINGLET_TRY(const auto values, values_of(*context.source, *each.info));
      const TrainSplit split(each.full, values, 0, *context.pool);
      each.lost.clear();
      for (const std::int64_t bond : each.bonds())
        each.lost.push_back(split.total() > 0 ? split.error(bond) / split.total() : 0);
    }
    KINGLET_TRY(const Sensitivities known, measure_sensitivities(context));
    for (Candidate& each : candidates_) {
      const auto found = known.find(each.info->name);
      const double value = found == known.end() ? 1 : std::max(found->second, 1e-9);
      each.sensitivity = reversed ? 1 / value : value;
    }
    return {};
  }

  bool allocate_within(std::int64_t budget) {
    std::vector<TensorChoices> all(candidates_.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Candidate& each = candidates_[i];
      const auto bonds = each.bonds();
      all[i].name = each.info->name;
      for (std::size_t b = 0; b < bonds.size(); ++b)
        all[i].choices.push_back({each.type, each.bytes(bonds[b]), each.sensitivity * each.lost[b]});
      all[i].choices.push_back({each.info->type, each.info->bytes, 0});
    }
    const auto chosen = allocate(all, static_cast<std::uint64_t>(budget));
    if (!chosen) return false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto bonds = candidates_[i].bonds();
      candidates_[i].bond = (*chosen)[i] < bonds.size() ? bonds[(*chosen)[i]] : 0;
    }
    return true;
  }

  /// The same share of its numbers for each, the largest that fits.
  bool share_alike(std::int64_t budget) {
    const auto bytes_at = [&](double ratio) {
      std::int64_t sum = 0;
      for (Candidate& each : candidates_) {
        each.bond = std::max<std::int64_t>(each.bond_for(ratio), 1);
        sum += static_cast<std::int64_t>(each.bytes(each.bond));
      }
      return sum;
    };
    double low = 0, high = 1;
    if (bytes_at(low) > budget) return false;
    for (int i = 0; i < 40; ++i) (bytes_at((low + high) / 2) <= budget ? low : high) = (low + high) / 2;
    bytes_at(low);
    return true;
  }

  Result<PassPlan> planned(const PassPlan& whole) const {
    PassPlan plan = whole;
    plan.tensors.clear();
    KINGLET_TRY(auto list, factored_matrices(plan.metadata));
    double multiplied = 0, dense = 0;
    std::size_t count = 0;
    std::uint64_t widest = 0;
    for (const PassPlan::Tensor& tensor : whole.tensors) {
      const Candidate* candidate = split(tensor.name);
      if (candidate == nullptr) {
        plan.tensors.push_back(tensor);
        continue;
      }
      const TrainShape shape = candidate->with_bond(candidate->bond);
      list.push_back({std::string(kTensorTrainCodec), tensor.name, tensor.shape[0], tensor.shape[1]});
      for (int s = 0; s < shape.sites(); ++s)
        plan.tensors.push_back(
            {list.back().factor(s), &candidate->site_type(shape, s), {shape.rows(s), shape.columns(s)}, tensor.block});
      const auto elements = static_cast<double>(candidate->info->elements());
      dense += elements;
      multiplied += shape.sites() == 2 ? static_cast<double>(shape.products()) : elements;
      widest = std::max(widest, static_cast<std::uint64_t>(candidate->info->elements()));
      ++count;
    }
    set_factored_matrices(plan.metadata, list);
    plan.metadata.erase("general.file_type");
    plan.memory_bytes = widest * 48;
    char line[200];
    std::snprintf(line, sizeof line,
                  "%zu matrices as chains: multiplied site by site they would take %.2f times the dense products",
                  count, count == 0 ? 0 : multiplied / dense);
    plan.notes.push_back(line);
    return plan;
  }

  Result<void> make_sites(PassContext& context, const Candidate& candidate, TensorSink& sink) const {
    if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_TRY(const auto values, values_of(*context.source, *candidate.info));
    const TrainSplit split(candidate.full, values, candidate.bond, *context.pool);
    TrainShape shape;
    const auto sites = split.sites(candidate.bond, shape, *context.pool);
    if (shape.bonds != candidate.with_bond(candidate.bond).bonds)
      return fail(ErrorCode::kInternal, candidate.info->name + " got other bonds than planned");
    const FactoredMatrix name{.codec = {}, .name = candidate.info->name};
    for (int s = 0; s < shape.sites(); ++s) {
      if (sink.finished(name.factor(s))) continue;
      const BlockType& type = candidate.site_type(shape, s);
      const auto& site = sites[static_cast<std::size_t>(s)];
      std::vector<std::byte> bytes(type.row_bytes(site.size()));
      type.encode(site.data(), site.size() / static_cast<std::size_t>(type.block_values), nullptr, bytes.data());
      KINGLET_CHECK(sink.put(name.factor(s), bytes));
    }
    return {};
  }

  PassOptions options_;
  const BlockType* type_;
  std::uint64_t bytes_;
  int sites_;
  std::vector<Candidate> candidates_;
  PassPlan plan_;
};

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  if (options.given("bytes") + options.given("ratio") + options.given("bond") != 1)
    return fail(ErrorCode::kInvalidArgument, "tensor_train takes one of bytes, ratio and bond",
                "bytes: 80MB, ratio: 0.6 or bond: 100", options.place(""));
  if (options.given("profile") && !options.given("bytes"))
    return fail(ErrorCode::kInvalidArgument, "profile goes with bytes", "", options.place("profile"));
  if (options.given("bytes") && options.integer("sites") != 2 && options.text("profile") != "none")
    return fail(ErrorCode::kInvalidArgument, "a measured profile is for two sites", "profile: none takes any.",
                options.place("sites"));
  KINGLET_TRY(const BlockType* type, options.type("factor-type"));
  KINGLET_TRY(const std::uint64_t bytes, options.bytes("bytes"));
  return std::make_unique<TensorTrain>(options, type, bytes);
}

}  // namespace

extern const PassDescriptor pass_tensor_train = {
    .name = "tensor_train",
    .paper = "059",
    .help = "Stores matrices as chains of small tensors (matrix product operators)",
    .applicability = "models whose layers have large matrices; profile measured: models that Kinglet runs",
    .options = kOptions,
    .make = make,
    .stage = PassStage::kStructure,
};

}  // namespace kinglet
