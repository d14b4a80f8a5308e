// Power-exponent quantization (PowerQuant, arXiv 2301.09858; NUPES, arXiv 2308.05600): matrices into tables of signed
// powers, the exponent of each matrix searched on its values. Rounding is plain, or (`learn`) with error compensation
// and descent over all codes on calibration text; both are other passes' work.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/size.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/matrix_sample.h"
#include "compress/quantize/power_grid.h"
#include "kinglet/convert.h"
#include "kinglet/pass.h"
#include "tensor/quantize/power_levels.h"

namespace kinglet {
namespace {

constexpr PassOption kOptions[] = {
    {.name = "bits",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Bits of a code",
     .fallback = "4",
     .min = 2,
     .max = 5},
    {.name = "exponent",
     .value_name = "X",
     .help = "auto (searched for each matrix), model (one for all), or a number from 0.5 (dense near zero) over 1 "
             "(uniform) to 1.2, rounded to 0.05",
     .fallback = "auto"},
    {.name = "learn",
     .kind = PassOptionKind::kFlag,
     .help = "Choose the codes on calibration text, as gptq does",
     .fallback = "false"},
    {.name = "tokens",
     .kind = PassOptionKind::kInteger,
     .value_name = "N",
     .help = "Tokens of calibration text for learn",
     .fallback = "16384",
     .min = 16,
     .max = 1 << 24},
    {.name = "tensors",
     .kind = PassOptionKind::kMap,
     .value_name = "PATTERN: T",
     .help = "Other types of tensors by name; * stands for any text, and the last pattern that matches counts"},
};

constexpr std::size_t kSampleValues = 32768;

int hundredths(double exponent) {
  const int step = static_cast<int>(std::lround(exponent * 100 / kPowerStep));
  return std::clamp(step * kPowerStep, kPowerFirst, kPowerLast);
}

std::string type_name(int bits, int exponent) {
  const std::string name = "P" + std::to_string(bits);
  if (exponent == kPowerUsual) return name;
  char text[8];
  std::snprintf(text, sizeof text, "_%02d", exponent);
  return name + text;
}

/// A matrix that this pass rounds, with values of it.
struct Candidate {
  const TensorInfo* info;
  std::vector<float> values;
  int exponent = kPowerUsual;
};

class Power final : public Pass {
 public:
  Power(const PassOptions& options, std::optional<double> exponent)
      : options_(options), bits_(static_cast<int>(options.integer("bits"))), exponent_(exponent) {}

  Result<PassPlan> plan(PassContext& context) override {
    KINGLET_TRY(auto candidates, find_candidates(context));
    KINGLET_CHECK(choose(context, candidates));
    KINGLET_CHECK(make_rounding(candidates));
    KINGLET_TRY(PassPlan plan, rounding_->plan(context));
    describe(candidates, plan);
    return plan;
  }
  Result<void> run(PassContext& context, int block, TensorSink& sink) override {
    return rounding_->run(context, block, sink);
  }
  Result<void> skip(PassContext& context, int block, const TensorSink& sink) override {
    return rounding_->skip(context, block, sink);
  }

 private:
  Result<std::vector<Candidate>> find_candidates(const PassContext& context) const {
    const BlockType& family = *find_block_type(type_name(bits_, kPowerUsual));
    KINGLET_TRY(const PassPlan plain, copying_plan(context));
    std::vector<Candidate> found;
    for (const PassPlan::Tensor& tensor : plain.tensors) {
      const TensorInfo& info = *context.source->find(tensor.name);
      const BlockType* type = fitting_block_type(family, info.columns());
      if (info.shape.size() < 2 || converted_type(info, family) != type) continue;
      if (type != nullptr && type->bits_per_weight() < info.type->bits_per_weight()) found.push_back({&info, {}});
    }
    if (found.empty())
      return fail(ErrorCode::kUnsupported,
                  "this model has no matrix that " + std::to_string(bits_) + "-bit powers would make smaller");
    return found;
  }

  double error_of(const Candidate& candidate, double exponent) const {
    const BlockType& family = *find_block_type(type_name(bits_, kPowerUsual));
    const BlockType& type = *fitting_block_type(family, candidate.info->columns());
    return power_error(candidate.values, {}, static_cast<std::size_t>(type.block_values), bits_, exponent);
  }

  Result<void> choose(PassContext& context, std::vector<Candidate>& candidates) const {
    if (exponent_) {
      for (Candidate& candidate : candidates) candidate.exponent = hundredths(*exponent_);
      return {};
    }
    for (Candidate& candidate : candidates) {
      if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
      KINGLET_TRY(candidate.values, sample_matrix(*context.source, *candidate.info, kSampleValues));
    }
    const double low = kPowerFirst / 100.0, high = kPowerLast / 100.0;
    if (options_.text("exponent") == "model") {
      const auto all = [&](double exponent) {
        std::vector<double> errors(candidates.size());
        in_parallel(context, candidates.size(), [&](std::size_t i) { errors[i] = error_of(candidates[i], exponent); });
        double sum = 0;
        for (double each : errors) sum += std::sqrt(each);
        return sum;
      };
      const int found = hundredths(search_exponent(all, low, high).exponent);
      for (Candidate& candidate : candidates) candidate.exponent = found;
      return {};
    }
    in_parallel(context, candidates.size(), [&](std::size_t i) {
      const auto own = [&](double exponent) { return error_of(candidates[i], exponent); };
      candidates[i].exponent = hundredths(search_exponent(own, low, high).exponent);
    });
    return {};
  }

  template <class Work>
  static void in_parallel(const PassContext& context, std::size_t count, const Work& work) {
    const auto threads = static_cast<std::size_t>(context.pool->size());
    context.pool->run([&](int thread) {
      for (auto i = static_cast<std::size_t>(thread); i < count; i += threads) work(i);
    });
  }

  /// The pass that rounds, with a type for every candidate and the recipe's own patterns behind them.
  Result<void> make_rounding(const std::vector<Candidate>& candidates) {
    RecipeNode types{.kind = RecipeNode::Kind::kMap, .text = {}, .keys = {}, .items = {}};
    for (const Candidate& candidate : candidates)
      types.set(candidate.info->name, RecipeNode::scalar(type_name(bits_, candidate.exponent)));
    if (const RecipeNode* own = options_.node("tensors"))
      for (std::size_t i = 0; i < own->keys.size(); ++i) types.set(own->keys[i], own->items[i]);
    RecipeNode given{.kind = RecipeNode::Kind::kMap, .text = {}, .keys = {}, .items = {}};
    given.set("tensors", std::move(types));
    const PassDescriptor& rounding = *find_pass(options_.flag("learn") ? "gptq" : "quantize");
    if (options_.flag("learn")) given.set("tokens", RecipeNode::scalar(options_.text("tokens")));
    KINGLET_TRY(rounding_, rounding.make(PassOptions(rounding.options, std::move(given), options_.place("tensors"))));
    return {};
  }

  void describe(const std::vector<Candidate>& candidates, PassPlan& plan) const {
    int low = kPowerLast, high = kPowerFirst;
    for (const Candidate& candidate : candidates) {
      low = std::min(low, candidate.exponent);
      high = std::max(high, candidate.exponent);
    }
    char line[64];
    std::snprintf(line, sizeof line, low == high ? "exponent %.2f" : "exponents from %.2f to %.2f", low / 100.0,
                  high / 100.0);
    plan.notes.push_back(line);
  }

  PassOptions options_;
  int bits_;
  std::optional<double> exponent_;  ///< none: searched
  std::unique_ptr<Pass> rounding_;
};

Result<void> accepts(const Checkpoint& checkpoint, const PassOptions& options) {
  const PassDescriptor& gptq = *find_pass("gptq");
  return options.flag("learn") ? gptq.accepts(checkpoint, options) : Result<void>();
}

Result<std::unique_ptr<Pass>> make(const PassOptions& options) {
  const std::string text = options.text("exponent");
  if (text == "auto" || text == "model") return std::make_unique<Power>(options, std::nullopt);
  double exponent = 0;
  if (!parse_number(text, exponent) || !(exponent >= kPowerFirst / 100.0 && exponent <= kPowerLast / 100.0))
    return fail(ErrorCode::kInvalidArgument,
                "exponent takes auto, model or a number from 0.5 to 1.2, found '" + text + "'", "",
                options.place("exponent"));
  return std::make_unique<Power>(options, exponent);
}

}  // namespace

extern const PassDescriptor pass_power = {
    .name = "power",
    .paper = "062",
    .help = "Stores matrices in 2 to 5 bits whose levels are signed powers, with the exponent searched for each matrix",
    .applicability = "every model; matrices whose rows are multiples of 32; with learn, models that Kinglet runs",
    .options = kOptions,
    .accepts = accepts,
    .make = make,
};

}  // namespace kinglet
