#include "compress/factorize/problems.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/calibration/collector.h"
#include "kinglet/model.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostCache = 64 << 20;

/// Which matrices read a tap point.
std::vector<std::string> readers_of(const Checkpoint& source, const InputStatistics& point, int layers) {
  if (point.layer >= layers) return {source.find("output.weight") ? "output.weight" : "token_embd.weight"};
  std::vector<std::string_view> kinds;
  switch (point.point) {
    case TapPoint::kAttentionInput:
      kinds = {"attn_q", "attn_k", "attn_v"};
      break;
    case TapPoint::kAttended:
      kinds = {"attn_output"};
      break;
    case TapPoint::kFeedForwardInput:
      kinds = {"ffn_gate", "ffn_up"};
      break;
    case TapPoint::kActivated:
      kinds = {"ffn_down"};
      break;
  }
  std::vector<std::string> names;
  for (std::string_view kind : kinds) names.push_back(layer_matrix_name(point.layer, kind));
  return names;
}

class Walk {
 public:
  Walk(PassContext& context, const std::vector<std::string>& names, double damping,
       const std::function<Result<void>(const TensorInfo&, const LowRankProblem&)>& work)
      : context_(context), names_(names), damping_(damping), work_(work) {}

  Result<void> visit(const std::string& name, std::span<const float> moment) {
    if (std::find(names_.begin(), names_.end(), name) == names_.end()) return {};
    if (context_.cancelled && context_.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    const TensorInfo& tensor = *context_.source->find(name);
    KINGLET_TRY(const TensorData data, context_.source->data(tensor));
    std::vector<float> weights(static_cast<std::size_t>(tensor.elements()));
    tensor.type->decode(data.bytes.data(), weights.size() / static_cast<std::size_t>(tensor.type->block_values),
                        weights.data());
    if (!std::all_of(weights.begin(), weights.end(), [](float value) { return std::isfinite(value); }))
      return fail(ErrorCode::kCorrupt, name + " holds values that are not finite");
    auto done = work_(tensor, {.weights = weights,
                               .outputs = tensor.rows(),
                               .inputs = tensor.columns(),
                               .moment = moment,
                               .damping = damping_});
    if (!done) return tl::unexpected(std::move(done).error().within(name));
    if (context_.progress) context_.progress(static_cast<double>(++done_) / static_cast<double>(names_.size()));
    return {};
  }
  std::size_t done() const { return done_; }

 private:
  PassContext& context_;
  const std::vector<std::string>& names_;
  double damping_;
  const std::function<Result<void>(const TensorInfo&, const LowRankProblem&)>& work_;
  std::size_t done_ = 0;
};

std::string cache_path(const PassContext& context, const std::vector<std::string>& names,
                       const ProblemOptions& options) {
  if (context.cache_folder.empty()) return "";
  std::string key = "spectra 1 " + context.source_digest;
  if (options.moments)
    key +=
        " " + sha256(context.text).hex() + " " + std::to_string(options.tokens) + " " + std::to_string(options.damping);
  for (const std::string& name : names) key += " " + name;
  return context.cache_folder + "/" + sha256(key).hex() + ".spectra.json";
}

/// Nothing where it is not there or not whole.
std::vector<std::vector<double>> read_cached(const std::string& path, std::size_t count) {
  std::vector<std::vector<double>> spectra;
  const auto text = path.empty() ? Result<std::string>(std::string()) : read_file(path, kMostCache);
  if (!text || text->empty()) return spectra;
  const auto value = parse_json(*text, path, {.max_bytes = kMostCache});
  if (!value || !value->is_array() || value->size() != count) return spectra;
  for (const auto& list : *value) {
    if (!list.is_array()) return {};
    for (const auto& number : list)
      if (!number.is_number()) return {};
    spectra.push_back(list.get<std::vector<double>>());
  }
  return spectra;
}

}  // namespace

Result<void> each_problem(PassContext& context, const std::vector<std::string>& names, const ProblemOptions& options,
                          const std::function<Result<void>(const TensorInfo&, const LowRankProblem&)>& work) {
  if (names.empty()) return {};
  Walk walk(context, names, options.damping, work);
  if (!options.moments) {
    for (const std::string& name : names) KINGLET_CHECK(walk.visit(name, {}));
    return {};
  }
  KINGLET_TRY(const auto tokenizer, load_tokenizer(context.source->metadata()));
  KINGLET_TRY(const std::size_t window, calibration_window(*context.source));
  KINGLET_TRY(const auto windows,
              calibration_windows(*tokenizer, context.text, {.tokens = options.tokens, .window = window}));
  const int layers = layer_count(*context.source);
  KINGLET_CHECK(collect_statistics(*context.source, windows, {.moments = true, .threads = context.pool->size()},
                                   [&](const InputStatistics& point) -> Result<void> {
                                     for (const std::string& name : readers_of(*context.source, point, layers))
                                       KINGLET_CHECK(walk.visit(name, point.moment));
                                     return {};
                                   }));
  if (walk.done() < names.size())
    return fail(ErrorCode::kInvalidArgument, "some of the named matrices multiply nothing when text is read",
                "Leave them out, or set whiten: false.");
  return {};
}

Result<std::vector<std::vector<double>>> spectra_of(PassContext& context, const std::vector<std::string>& names,
                                                    const ProblemOptions& options) {
  const std::string path = cache_path(context, names, options);
  auto spectra = read_cached(path, names.size());
  if (!spectra.empty()) return spectra;
  spectra.resize(names.size());
  KINGLET_CHECK(each_problem(
      context, names, options, [&](const TensorInfo& tensor, const LowRankProblem& problem) -> Result<void> {
        KINGLET_TRY(const LowRankSolution solution, LowRankSolution::solve(problem, 0, *context.pool));
        spectra[static_cast<std::size_t>(std::find(names.begin(), names.end(), tensor.name) - names.begin())] =
            solution.energies();
        return {};
      }));
  if (path.empty() || !make_folders(context.cache_folder)) return spectra;  // a cache costs time only
  if (auto file = AtomicFile::create(path); file && (*file)->write(dump_json(nlohmann::ordered_json(spectra), 0)))
    (void)(*file)->commit();
  return spectra;
}

}  // namespace kinglet
