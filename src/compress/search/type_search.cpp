#include "compress/search/type_search.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize/sequential.h"
#include "compress/search/evolution.h"
#include "compress/search/screening.h"
#include "compress/search/window_divergence.h"
#include "kinglet/factors.h"

namespace kinglet {
namespace {

constexpr std::size_t kWindow = 256;
constexpr std::size_t kJudgedTokens = 65536;  ///< of calibration text, in turns: a search over less learns it by heart
constexpr std::int64_t kScreenedTokens = 2048;  ///< that a matrix rounded alone is judged by
constexpr double kCertainty = 2;

/// The levels of one matrix: indices into its choices, by ascending bytes.
struct Levels {
  std::vector<std::size_t> choices;
  int start = 0;
};

/// The choices of these types, and the chosen one.
Levels levels_among(const TensorChoices& tensor, std::size_t chosen, const std::vector<std::string>& types) {
  Levels levels;
  for (std::size_t i = 0; i < tensor.choices.size(); ++i) {
    if (i == chosen) levels.start = static_cast<int>(levels.choices.size());
    if (i == chosen || std::find(types.begin(), types.end(), tensor.choices[i].type->name) != types.end())
      levels.choices.push_back(i);
  }
  return levels;
}

/// The chosen type with the next smaller and the next larger that lose less the more bytes they have.
Levels levels_of(const TensorChoices& tensor, std::size_t chosen) {
  Levels levels;
  for (std::size_t i = chosen; i-- > 0;) {
    if (tensor.choices[i].bytes < tensor.choices[chosen].bytes && tensor.choices[i].type->form.bits > 0) {
      std::size_t best = i;  // of equal bytes the one that loses least
      while (i > 0 && tensor.choices[i - 1].bytes == tensor.choices[best].bytes) {
        --i;
        if (tensor.choices[i].loss < tensor.choices[best].loss) best = i;
      }
      levels.choices.push_back(best);
      break;
    }
  }
  levels.start = static_cast<int>(levels.choices.size());
  levels.choices.push_back(chosen);
  for (std::size_t i = chosen + 1; i < tensor.choices.size(); ++i) {
    if (tensor.choices[i].bytes > tensor.choices[chosen].bytes &&
        tensor.choices[i].loss < tensor.choices[chosen].loss) {
      levels.choices.push_back(i);
      break;
    }
  }
  return levels;
}

/// Rounded matrices, packed as they come.
class Database final : public RoundedStore {
 public:
  std::map<std::pair<std::string, const BlockType*>, std::unique_ptr<PackedMatrix>> packed;
  const Checkpoint* source = nullptr;
  bool finished(std::string_view) const override { return false; }
  Result<std::vector<std::byte>> read(std::string_view name) const override {
    return fail(ErrorCode::kInternal, std::string(name) + " was never kept");
  }
  Result<void> put(RoundedMatrix matrix) override {
    KINGLET_TRY(packed[std::pair(matrix.name, matrix.type)],
                pack_matrix(*matrix.type, source->find(matrix.name)->shape, own_bytes(std::move(matrix.bytes))));
    return {};
  }
};

class TypeSearch {
 public:
  TypeSearch(PassContext& context, const std::vector<TensorChoices>& tensors) : context_(context), tensors_(tensors) {}
  Result<void> prepare(const std::vector<std::size_t>& chosen, const TypeSearchOptions& options);
  Result<std::vector<double>> fitness(const SearchPoint& point, const SearchData& data);
  Result<double> divergence(const SearchPoint& point, const SearchData& data);
  /// The start, or what it becomes by the losses of single matrices, where that is better.
  Result<SearchPoint> screened(std::uint64_t budget, bool exact);
  std::vector<SearchItem> items() const;
  SearchPoint start() const;
  std::vector<std::size_t> choices(const SearchPoint& point) const;

 private:
  Result<void> build(const TypeSearchOptions& options);
  Result<void> install(const SearchPoint& point);
  Result<std::vector<std::vector<double>>> losses_alone();
  Result<std::vector<double>> rounded_alone(std::size_t tensor, int level, const SearchData& data);
  const BlockType* type_of(std::size_t tensor, int level) const {
    return tensors_[tensor].choices[levels_[tensor].choices[static_cast<std::size_t>(level)]].type;
  }

  PassContext& context_;
  const std::vector<TensorChoices>& tensors_;
  std::vector<Levels> levels_;
  Database database_;
  std::unique_ptr<SequentialRounding> rounding_;
  std::unique_ptr<WindowDivergence> divergence_;
  std::vector<const BlockType*> installed_;
};

std::vector<SearchItem> TypeSearch::items() const {
  std::vector<SearchItem> items(tensors_.size());
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    for (std::size_t choice : levels_[t].choices) items[t].bytes.push_back(tensors_[t].choices[choice].bytes);
  }
  return items;
}

SearchPoint TypeSearch::start() const {
  SearchPoint point;
  for (const Levels& each : levels_) point.push_back(each.start);
  return point;
}

std::vector<std::size_t> TypeSearch::choices(const SearchPoint& point) const {
  std::vector<std::size_t> chosen;
  for (std::size_t t = 0; t < point.size(); ++t)
    chosen.push_back(levels_[t].choices[static_cast<std::size_t>(point[t])]);
  return chosen;
}

Result<void> TypeSearch::prepare(const std::vector<std::size_t>& chosen, const TypeSearchOptions& options) {
  std::uint64_t bytes = 0;
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    levels_.push_back(options.types.empty() ? levels_of(tensors_[t], chosen[t])
                                            : levels_among(tensors_[t], chosen[t], options.types));
    for (std::size_t choice : levels_.back().choices) bytes += tensors_[t].choices[choice].bytes;
  }
  bytes += kJudgedTokens * WindowDivergence::kBytesPerToken;
  if (bytes + 2 * context_.source->file_bytes() > context_.memory_bytes) {
    return fail(ErrorCode::kExhausted, "a search over types keeps " + std::to_string(bytes >> 20) +
                                           " MiB of rounded matrices and logits in memory, and " +
                                           std::to_string(context_.memory_bytes >> 20) + " MiB may be used");
  }
  return build(options);
}

/// Every level of every matrix from the same moments: those of the model rounded to the chosen types.
Result<void> TypeSearch::build(const TypeSearchOptions& options) {
  KINGLET_TRY(const auto tokenizer, load_tokenizer(context_.source->metadata()));
  KINGLET_TRY(const std::size_t window, calibration_window(*context_.source));
  KINGLET_TRY(auto windows,
              calibration_windows(*tokenizer, context_.text, {.tokens = options.tokens, .window = window}));
  KINGLET_TRY(auto judged, calibration_windows(*tokenizer, context_.text,
                                               {.tokens = kJudgedTokens, .window = std::min(kWindow, window)}));
  KINGLET_TRY(rounding_, SequentialRounding::create(*context_.source, std::move(windows), context_.pool->size()));
  divergence_ = std::make_unique<WindowDivergence>(rounding_->source().engine(), std::move(judged));
  rounding_->keep_packed = true;
  database_.source = context_.source;
  TypePlan plan;
  SequentialOptions settings{.correction = 0, .rounding = {.sweeps = 0}};
  installed_.resize(tensors_.size());
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const BlockType* own = context_.source->find(tensors_[t].name)->type;
    for (int level = 0; level < static_cast<int>(levels_[t].choices.size()); ++level) {
      const BlockType* type = type_of(t, level);
      if (type == own) continue;
      if (plan.emplace(tensors_[t].name, type).second) {
        installed_[t] = type;
      } else if (level == levels_[t].start) {
        settings.beside[tensors_[t].name].push_back(std::exchange(plan[tensors_[t].name], type));
        installed_[t] = type;
      } else {
        settings.beside[tensors_[t].name].push_back(type);
      }
    }
    if (installed_[t] == nullptr) installed_[t] = own;
  }
  rounding_->start(std::move(plan), settings);
  KINGLET_CHECK(rounding_->embedding(database_));
  const int layers = layer_count(*context_.source);
  for (int i = 0; i < layers; ++i) {
    if (context_.cancelled && context_.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_CHECK(rounding_->layer(i, database_));
    if (context_.progress) context_.progress(0.3 * (i + 1) / layers);
  }
  KINGLET_CHECK(rounding_->head(database_));
  KINGLET_CHECK(rounding_->source().page_in_all());
  KINGLET_CHECK(rounding_->target().page_in_all());
  // What the rounding left in the model is in the database too; from here on places hold what was taken from it.
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const std::string& name = tensors_[t].name;
    const BlockType* own = context_.source->find(name)->type;
    if (installed_[t] == own) continue;
    auto& packed = database_.packed.at({name, installed_[t]});
    KINGLET_CHECK(rounding_->target().exchange(name, std::move(packed)));
  }
  return {};
}

Result<void> TypeSearch::install(const SearchPoint& point) {
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const BlockType* type = type_of(t, point[t]);
    if (type == installed_[t]) continue;
    const std::string& name = tensors_[t].name;
    auto& packed = database_.packed[{name, type}];
    if (!packed) {  // the source's own
      KINGLET_TRY(packed, pack_matrix(*context_.source, name));
    }
    KINGLET_TRY(auto old, rounding_->target().exchange(name, std::move(packed)));
    database_.packed[{name, installed_[t]}] = std::move(old);
    installed_[t] = type;
  }
  return {};
}

Result<std::vector<double>> TypeSearch::fitness(const SearchPoint& point, const SearchData& data) {
  if (context_.cancelled && context_.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
  KINGLET_CHECK(install(point));
  KINGLET_TRY(auto costs, divergence_->means(rounding_->target().engine(), data));
  // Texts that the model hardly knows diverge most, whatever is rounded: what counts is the part that is lost.
  for (double& cost : costs) cost = std::log(std::max(cost, 1e-12));
  return costs;
}

/// Of each level of each matrix: what the source loses by this matrix alone, relative to what it loses by all of the
/// start's, window by window. Measured at the start's level (where that loses nothing, at the one below) and carried to
/// the others by the planner's errors.
Result<std::vector<std::vector<double>>> TypeSearch::losses_alone() {
  const SearchData data{.tokens = kScreenedTokens};
  KINGLET_CHECK(install(start()));
  KINGLET_TRY(const auto all, divergence_->means(rounding_->target().engine(), data));
  std::vector<std::vector<double>> losses(tensors_.size());
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const std::vector<std::size_t>& choices = levels_[t].choices;
    losses[t].assign(choices.size(), 0);
    if (choices.size() < 2) continue;
    const auto at = static_cast<std::size_t>(levels_[t].start);
    const std::size_t level = tensors_[t].choices[choices[at]].loss > 0 || at == 0 ? at : at - 1;
    const double error = tensors_[t].choices[choices[level]].loss;
    if (context_.cancelled && context_.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    if (context_.progress) context_.progress(0.3 + 0.2 * static_cast<double>(t) / static_cast<double>(tensors_.size()));
    KINGLET_TRY(const auto alone, rounded_alone(t, static_cast<int>(level), data));
    double relative = 0;
    for (std::size_t w = 0; w < alone.size(); ++w)
      relative += alone[w] / std::max(all[w], 1e-12) / static_cast<double>(alone.size());
    for (std::size_t l = 0; l < choices.size() && error > 0; ++l)
      losses[t][l] = std::max(0.0, relative) * tensors_[t].choices[choices[l]].loss / error;
  }
  return losses;
}

/// The source's divergence from itself with one matrix rounded to a level that is not in the model.
Result<std::vector<double>> TypeSearch::rounded_alone(std::size_t t, int level, const SearchData& data) {
  SearchPoint others = start();
  if (others[t] == level) others[t] += level > 0 ? -1 : 1;
  KINGLET_CHECK(install(others));
  const std::string& name = tensors_[t].name;
  auto& packed = database_.packed[{name, type_of(t, level)}];
  if (!packed) return std::vector<double>();  // the source's own: nothing is lost
  Workbench& source = rounding_->source();
  KINGLET_TRY(auto own, source.exchange(name, std::move(packed)));
  if (!own) {  // an embedding that is looked up in the file, and was never packed
    KINGLET_TRY(own, pack_matrix(*context_.source, name));
  }
  auto alone = divergence_->means(source.engine(), data);
  KINGLET_TRY(packed, source.exchange(name, std::move(own)));
  return alone;
}

Result<SearchPoint> TypeSearch::screened(std::uint64_t budget, bool exact) {
  KINGLET_TRY(const auto losses, losses_alone());
  const SearchPoint guess = least_loss(items(), losses, budget, exact);
  if (guess.empty()) return start();
  const SearchData others{.first = kScreenedTokens, .tokens = 4 * kScreenedTokens};
  KINGLET_TRY(const auto before, fitness(start(), others));
  KINGLET_TRY(const auto after, fitness(guess, others));
  return beats(after, before, kCertainty) ? guess : start();
}

Result<double> TypeSearch::divergence(const SearchPoint& point, const SearchData& data) {
  KINGLET_CHECK(install(point));
  return divergence_->mean(rounding_->target().engine(), data);
}

nlohmann::ordered_json to_json(const SearchState& state, const std::string& key) {
  return {{"key", key}, {"generation", state.generation}, {"accepted", state.accepted}, {"point", state.parent}};
}

/// The journal of an earlier run of the same search, if there is one that fits.
SearchState resumed(const std::string& path, const std::string& key, SearchState start) {
  const auto text = read_file(path, 1 << 24);
  if (!text) return start;
  const auto value = parse_json(*text, path);
  if (!value || !value->is_object() || value->value("key", "") != key || !value->contains("point")) return start;
  SearchState state{.parent = {}, .generation = value->value("generation", 0), .accepted = value->value("accepted", 0)};
  for (const auto& level : (*value)["point"]) state.parent.push_back(level.is_number_integer() ? level.get<int>() : 0);
  return state.parent.size() == start.parent.size() ? state : start;
}

}  // namespace

Result<std::vector<std::size_t>> search_types(PassContext& context, const std::vector<TensorChoices>& tensors,
                                              std::vector<std::size_t> chosen, std::uint64_t budget,
                                              const TypeSearchOptions& options, TypeSearchReport* report) {
  if (context.source->metadata().contains(kFactorsKey))
    return fail(ErrorCode::kUnsupported, "the search over types does not know matrices that are products of factors",
                "Leave out `search`, or choose the types without it.");
  TypeSearch search(context, tensors);
  KINGLET_CHECK(search.prepare(chosen, options));
  const std::vector<SearchItem> items = search.items();
  const SearchOptions evolution{.budget = budget,
                                .generations = options.generations,
                                .offspring = options.offspring,
                                .stages = {{std::max(2, options.offspring / 4), 512}, {2, 2048}, {1, 8192}},
                                .seed = context.seed,
                                .exact = options.exact,
                                .certainty = kCertainty};
  std::string key = context.source_digest + sha256(context.text).hex() + std::to_string(context.seed) + "/" +
                    std::to_string(budget) + "/" + std::to_string(options.offspring) + (options.exact ? "/exact" : "");
  for (const SearchItem& item : items)
    for (std::uint64_t bytes : item.bytes) key += "," + std::to_string(bytes);
  for (const std::string& type : options.types) key += "," + type;
  key = sha256(key).hex();
  const std::string path = context.work_folder.empty() ? "" : context.work_folder + "/type-search.json";
  const SearchState start{.parent = search.start()};
  SearchState state = path.empty() ? start : resumed(path, key, start);
  const auto fitness = [&](const SearchPoint& point, const SearchData& data) { return search.fitness(point, data); };
  const auto journal = [&](const SearchState& now) -> Result<void> {
    if (context.progress) context.progress(0.5 + 0.5 * now.generation / std::max(1, options.generations));
    if (path.empty()) return {};
    KINGLET_TRY(auto file, AtomicFile::create(path));
    KINGLET_CHECK(file->write(dump_json(to_json(now, key))));
    return file->commit();
  };
  if (state == start && options.generations > 0) {
    KINGLET_TRY(state.parent, search.screened(budget, options.exact));
    KINGLET_CHECK(journal(state));
  }
  KINGLET_TRY(state, evolve(items, state, evolution, fitness, journal));
  if (report != nullptr) {
    const SearchData all{.generation = options.generations, .tokens = 16384};
    KINGLET_TRY(report->start_kl, search.divergence(start.parent, all));
    KINGLET_TRY(report->end_kl, search.divergence(state.parent, all));
    report->accepted = state.accepted;
  }
  return search.choices(state.parent);
}

}  // namespace kinglet
