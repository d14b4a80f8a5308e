#include "compress/share/sub_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/search/evolution.h"
#include "compress/search/window_divergence.h"
#include "compress/workbench.h"
#include "decode/random.h"
#include "measure/layer_similarity.h"

namespace kinglet {
namespace {

constexpr std::size_t kWindow = 256, kTokens = 32768;
constexpr std::size_t kCosineTokens = 512;
constexpr std::int64_t kRunTokens = 1024;  // that neighbouring layers are judged by
constexpr int kOffspring = 16;

/// A sub-block is out where the matrix whose product it adds is zero. Points: the attentions, then the feed-forwards; 0
/// is out.
class SubBlockModels {
 public:
  static Result<std::unique_ptr<SubBlockModels>> open(PassContext& context) {
    auto models = std::make_unique<SubBlockModels>();
    models->context_ = &context;
    const LoadOptions load{.threads = context.pool->size()};
    const EngineOptions engine{.context = static_cast<std::int64_t>(kWindow) + 8};
    KINGLET_TRY(models->whole_, Workbench::open(*context.source, load, engine));
    if (!models->whole_->model().config().causal)
      return fail(ErrorCode::kInvalidArgument, "this needs a model that generates text");
    KINGLET_TRY(models->cut_, Workbench::open(*context.source, load, engine));
    KINGLET_CHECK(models->whole_->page_in_all());
    KINGLET_CHECK(models->cut_->page_in_all());
    models->layers_ = static_cast<std::size_t>(models->whole_->model().config().layers);
    models->installed_.assign(2 * models->layers_, 1);
    KINGLET_TRY(models->windows_, calibration_windows(models->whole_->model().tokenizer(), context.text,
                                                      {.tokens = kTokens, .window = kWindow}));
    models->divergence_ = std::make_unique<WindowDivergence>(models->whole_->engine(), models->windows_);
    return models;
  }

  std::size_t layers() const { return layers_; }

  /// Of each of the data's windows.
  Result<std::vector<double>> divergences(const SearchPoint& point, const SearchData& data) {
    if (context_->cancelled && context_->cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_CHECK(install(point));
    return divergence_->means(cut_->engine(), data);
  }

  Result<double> divergence(const SearchPoint& point, const SearchData& data) {
    KINGLET_CHECK(install(point));
    return divergence_->mean(cut_->engine(), data);
  }

  /// Mean cosine of the rows before and after each attention and each feed-forward.
  Result<std::vector<double>> cosines() {
    std::vector<double> cosines(2 * layers_);
    const std::size_t count = std::min(windows_.size(), kCosineTokens / kWindow);
    for (std::size_t w = 0; w < count; ++w) {
      const auto& ids = windows_[w * windows_.size() / count];
      KINGLET_TRY(const auto whole, depths(whole_->engine(), ids));
      for (std::size_t layer = 0; layer < layers_; ++layer) {
        SearchPoint point(2 * layers_, 1);
        point[layers_ + layer] = 0;
        KINGLET_CHECK(install(point));
        KINGLET_TRY(const auto half, depths(cut_->engine(), ids));
        cosines[layer] += cosine(whole[layer], half[layer + 1]);
        cosines[layers_ + layer] += cosine(half[layer + 1], whole[layer + 1]);
      }
    }
    return cosines;
  }

 private:
  Result<void> install(const SearchPoint& point) {
    for (std::size_t i = 0; i < point.size(); ++i) {
      if (point[i] == installed_[i]) continue;
      const std::string name = sub_block_output(static_cast<int>(i % layers_), i < layers_);
      std::unique_ptr<PackedMatrix> matrix;
      if (point[i] == 0) {
        const TensorInfo& info = *context_->source->find(name);
        const BlockType* type = find_block_type("F16");
        std::vector<std::byte> zeros(static_cast<std::size_t>(info.rows()) *
                                     type->row_bytes(static_cast<std::uint64_t>(info.columns())));
        KINGLET_TRY(matrix, pack_matrix(*type, info.shape, own_bytes(std::move(zeros))));
      } else {
        KINGLET_TRY(matrix, pack_matrix(*context_->source, name));
      }
      KINGLET_CHECK(cut_->exchange(name, std::move(matrix)));
      installed_[i] = point[i];
    }
    return {};
  }

  static Result<std::vector<std::vector<float>>> depths(Engine& engine, std::span<const TokenId> ids) {
    KINGLET_TRY(const auto sequence, engine.new_sequence());
    return hidden_depths(engine, *sequence, ids, 0);
  }

  double cosine(const std::vector<float>& a, const std::vector<float>& b) const {
    const auto width = static_cast<std::size_t>(whole_->model().config().width);
    double sum = 0;
    for (std::size_t begin = 0; begin < a.size(); begin += width) {
      double ab = 0, aa = 0, bb = 0;
      for (std::size_t i = begin; i < begin + width; ++i) {
        ab += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
      }
      sum += ab / std::sqrt(std::max(aa * bb, 1e-300));
    }
    return sum * static_cast<double>(width) / static_cast<double>(a.size());
  }

  PassContext* context_ = nullptr;
  std::size_t layers_ = 0;
  std::unique_ptr<Workbench> whole_, cut_;
  std::vector<std::vector<TokenId>> windows_;
  std::unique_ptr<WindowDivergence> divergence_;
  SearchPoint installed_;
};

/// The first of each order go.
SearchPoint without_first(const std::vector<std::size_t>& attentions, const std::vector<std::size_t>& feed_forwards,
                          const SubBlockRule& rule) {
  SearchPoint point(attentions.size() + feed_forwards.size(), 1);
  for (int i = 0; i < rule.attentions; ++i) point[attentions[static_cast<std::size_t>(i)]] = 0;
  for (int i = 0; i < rule.feed_forwards; ++i)
    point[attentions.size() + feed_forwards[static_cast<std::size_t>(i)]] = 0;
  return point;
}

SearchPoint random_point(std::size_t layers, const SubBlockRule& rule, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::size_t> orders[2];
  for (auto& order : orders) {
    order.resize(layers);
    std::iota(order.begin(), order.end(), 0u);
    for (std::size_t i = layers; i > 1; --i)
      std::swap(order[i - 1], order[static_cast<std::size_t>(random.next() % i)]);
  }
  return without_first(orders[0], orders[1], rule);
}

Result<SearchPoint> by_cosine(SubBlockModels& models, const SubBlockRule& rule) {
  KINGLET_TRY(const auto cosines, models.cosines());
  std::vector<std::size_t> orders[2];
  for (std::size_t kind = 0; kind < 2; ++kind) {
    const double* values = cosines.data() + kind * models.layers();
    orders[kind].resize(models.layers());
    std::iota(orders[kind].begin(), orders[kind].end(), 0u);
    std::sort(orders[kind].begin(), orders[kind].end(),
              [&](std::size_t a, std::size_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  }
  return without_first(orders[0], orders[1], rule);
}

Result<SearchPoint> best_window(SubBlockModels& models, const SubBlockRule& rule) {
  const std::size_t layers = models.layers(), count = static_cast<std::size_t>(rule.attentions);
  SearchPoint best;
  double least = INFINITY;
  for (std::size_t begin = 0; begin + count <= layers; ++begin) {
    SearchPoint point(2 * layers, 1);
    for (std::size_t i = begin; i < begin + count; ++i) point[i] = point[layers + i] = 0;
    KINGLET_TRY(const double divergence, models.divergence(point, {.tokens = kRunTokens}));
    if (divergence < least) least = divergence, best = std::move(point);
  }
  return best;
}

Result<SearchPoint> searched(PassContext& context, SubBlockModels& models, const SubBlockRule& rule) {
  SearchState state{.parent = {}};
  KINGLET_TRY(state.parent, by_cosine(models, rule));
  // Steps of different sizes, so that attentions trade with attentions alone.
  std::vector<SearchItem> items(2 * models.layers(), SearchItem{{0, 1}});
  for (std::size_t i = models.layers(); i < items.size(); ++i) items[i].bytes = {0, 2};
  const SearchOptions options{.budget = bytes_of(items, state.parent),
                              .generations = rule.generations,
                              .offspring = kOffspring,
                              .stages = {{2, 512}, {1, 2048}},
                              .seed = context.seed,
                              .exact = true};
  const auto fitness = [&](const SearchPoint& point, const SearchData& data) {
    return models.divergences(point, data);
  };
  const auto journal = [&](const SearchState& now) -> Result<void> {
    if (context.progress) context.progress(static_cast<double>(now.generation) / rule.generations);
    return {};
  };
  const SearchPoint start = state.parent;
  KINGLET_TRY(state, evolve(items, state, options, fitness, journal));
  const SearchData other{.generation = rule.generations, .tokens = 4096};
  KINGLET_TRY(const double before, models.divergence(start, other));
  KINGLET_TRY(const double after, models.divergence(state.parent, other));
  char line[160];
  std::snprintf(line, sizeof line,
                "search over sub-blocks: KL on calibration text %.4f -> %.4f, %d of %d generations moved", before,
                after, state.accepted, rule.generations);
  if (context.note) context.note(line);
  return after < before ? state.parent : start;
}

}  // namespace

std::string sub_block_output(int layer, bool attention) {
  return "blk." + std::to_string(layer) + (attention ? ".attn_output.weight" : ".ffn_down.weight");
}

Result<SubBlocks> choose_sub_blocks(PassContext& context, const SubBlockRule& rule) {
  const int layers = layer_count(*context.source);
  if (std::max(rule.attentions, rule.feed_forwards) >= layers)
    return fail(ErrorCode::kInvalidArgument, "the model has " + std::to_string(layers) + " layers: some have to stay");
  if (rule.by == SubBlockChoice::kWindow && rule.attentions != rule.feed_forwards)
    return fail(ErrorCode::kInvalidArgument, "whole layers have as many attentions as feed-forwards");
  if (rule.by != SubBlockChoice::kRandom && 3 * context.source->file_bytes() > context.memory_bytes)
    return fail(ErrorCode::kExhausted, "the model is too large for the memory budget to be run beside itself",
                "by: random needs no run.");
  SearchPoint point;
  if (rule.by == SubBlockChoice::kRandom) {
    point = random_point(static_cast<std::size_t>(layers), rule, context.seed);
  } else {
    KINGLET_TRY(const auto models, SubBlockModels::open(context));
    KINGLET_TRY(point, rule.by == SubBlockChoice::kCosine   ? by_cosine(*models, rule)
                       : rule.by == SubBlockChoice::kWindow ? best_window(*models, rule)
                                                            : searched(context, *models, rule));
  }
  SubBlocks gone;
  const auto middle = point.begin() + layers;
  for (auto i = point.begin(); i != middle; ++i) gone.attention.push_back(*i == 0);
  for (auto i = middle; i != point.end(); ++i) gone.feed_forward.push_back(*i == 0);
  return gone;
}

}  // namespace kinglet
