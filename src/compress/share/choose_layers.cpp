#include "compress/share/choose_layers.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/try.h"
#include "decode/random.h"

namespace kinglet {
namespace {

/// Layers in the order in which they go: all but the first and the last.
std::vector<int> interior(int layers) {
  std::vector<int> list;
  for (int layer = 1; layer + 1 < layers; ++layer) list.push_back(layer);
  return list;
}

std::vector<FoldedLayer> layout_of(const std::vector<int>& kept) {
  std::vector<FoldedLayer> layout;
  for (std::size_t i = 0; i < kept.size(); ++i) layout.push_back({kept[i], kept[i], static_cast<int>(i)});
  return layout;
}

template <typename T>
void shuffle(std::vector<T>& list, Random& random) {
  for (std::size_t i = list.size(); i > 1; --i)
    std::swap(list[i - 1], list[static_cast<std::size_t>(random.next() % i)]);
}

/// The layers that stay, without the `count` that matter least.
Result<std::vector<int>> remove_layers(const FoldRule& rule, std::size_t count, const LayerSimilarity& similarity,
                                       Random& random, const DivergenceOf& divergence_of) {
  std::vector<int> kept(static_cast<std::size_t>(similarity.layers));
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<int>(i);
  if (!rule.divergence || rule.random) {
    std::vector<int> order = interior(similarity.layers);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      const double first = similarity.influence(a), second = similarity.influence(b);
      return first != second ? first < second : a < b;
    });
    if (rule.random) shuffle(order, random);
    order.resize(count);
    std::erase_if(kept, [&](int layer) { return std::find(order.begin(), order.end(), layer) != order.end(); });
    return kept;
  }
  // What is gone makes others more needed: each choice is made with the earlier ones gone.
  for (std::size_t done = 0; done < count; ++done) {
    std::vector<int> best;
    double least = 0;
    for (std::size_t i = 1; i + 1 < kept.size(); ++i) {
      std::vector<int> without = kept;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
      KINGLET_TRY(const double divergence, divergence_of(layout_of(without)));
      if (!best.empty() && divergence >= least) continue;
      least = divergence;
      best = std::move(without);
    }
    kept = std::move(best);
  }
  return kept;
}

/// Members begin..end of the layout multiply with the donor's matrices.
void share_group(std::vector<FoldedLayer>& layout, std::size_t begin, std::size_t end, std::size_t donor) {
  const int original = layout[donor].original;
  for (std::size_t i = begin; i < end; ++i) layout[i].donor = original, layout[i].owner = static_cast<int>(begin);
}

std::size_t most_influential(const std::vector<FoldedLayer>& layout, std::size_t begin, std::size_t end,
                             const LayerSimilarity& similarity) {
  std::size_t best = begin;
  for (std::size_t i = begin; i < end; ++i)
    if (similarity.influence(layout[i].original) > similarity.influence(layout[best].original)) best = i;
  return best;
}

/// Two neighbours that may share.
struct Pair {
  std::size_t first, donor;
  double cost;  ///< how unlike they are, or what the answers lose
};

/// The same donor's matrices for both, whichever loses less.
Result<void> ask(Pair& pair, const std::vector<FoldedLayer>& layout, const DivergenceOf& divergence_of) {
  Pair best{pair.first, pair.first, INFINITY};
  for (std::size_t donor : {pair.first, pair.first + 1}) {
    std::vector<FoldedLayer> shared = layout;
    share_group(shared, pair.first, pair.first + 2, donor);
    KINGLET_TRY(const double divergence, divergence_of(shared));
    if (divergence < best.cost) best = {pair.first, donor, divergence};
  }
  pair = best;
  return {};
}

void sort_by_cost(std::vector<Pair>& pairs) {
  std::sort(pairs.begin(), pairs.end(),
            [](const Pair& a, const Pair& b) { return a.cost != b.cost ? a.cost < b.cost : a.first < b.first; });
}

/// The free pairs in the order in which they are to share. By divergence each choice is made with the earlier ones
/// sharing: the first asks all pairs, a later one those that lost least when they were asked last.
Result<void> order_pairs(const FoldRule& rule, const std::vector<FoldedLayer>& layout, bool first_choice,
                         const DivergenceOf& divergence_of, std::vector<Pair>& pairs) {
  constexpr std::size_t kAskedAgain = 8;
  if (!rule.divergence || rule.random) return {};
  const std::size_t asked = first_choice ? pairs.size() : std::min(pairs.size(), kAskedAgain);
  for (std::size_t i = 0; i < asked; ++i) KINGLET_CHECK(ask(pairs[i], layout, divergence_of));
  const auto end = pairs.begin() + static_cast<std::ptrdiff_t>(asked);
  std::vector<Pair> rest(end, pairs.end());
  pairs.erase(end, pairs.end());
  sort_by_cost(pairs);
  pairs.insert(pairs.end(), rest.begin(), rest.end());  // what lost more without the others is behind them
  return {};
}

Result<void> share_pairs(const FoldRule& rule, const ModelConfig& config, const LayerSimilarity& similarity,
                         Random& random, const DivergenceOf& divergence_of, std::vector<FoldedLayer>& layout) {
  const auto kind = [&](std::size_t i) { return config.per_layer[static_cast<std::size_t>(layout[i].original)]; };
  std::vector<Pair> pairs;
  for (std::size_t i = 1; i + 2 < layout.size(); ++i) {
    if (can_share(kind(i), kind(i + 1)))
      pairs.push_back({i, most_influential(layout, i, i + 2, similarity),
                       -similarity.at(layout[i].original + 1, layout[i + 1].original + 1)});
  }
  sort_by_cost(pairs);
  if (rule.random) shuffle(pairs, random);
  for (std::int64_t done = 0; done < rule.pairs; ++done) {
    if (pairs.empty())
      return fail(ErrorCode::kInvalidArgument, "the model has room for " + std::to_string(done) +
                                                   " pairs of like layers, not for " + std::to_string(rule.pairs));
    KINGLET_CHECK(order_pairs(rule, layout, done == 0, divergence_of, pairs));
    const Pair chosen = pairs.front();
    share_group(layout, chosen.first, chosen.first + 2, chosen.donor);
    std::erase_if(pairs,
                  [&](const Pair& pair) { return pair.first + 1 >= chosen.first && pair.first <= chosen.first + 1; });
  }
  return {};
}

void share_all(const FoldRule& rule, const ModelConfig& config, const LayerSimilarity& similarity,
               std::vector<FoldedLayer>& layout) {
  const auto kind = [&](std::size_t i) { return config.per_layer[static_cast<std::size_t>(layout[i].original)]; };
  const std::size_t last = layout.size() - 1;
  for (std::size_t begin = 1; begin < last;) {
    std::size_t end = begin + 1;
    while (end < last && end - begin < static_cast<std::size_t>(rule.share) && can_share(kind(begin), kind(end))) ++end;
    share_group(layout, begin, end, most_influential(layout, begin, end, similarity));
    begin = end;
  }
}

}  // namespace

bool can_share(const LayerConfig& a, const LayerConfig& b) {
  return a.heads == b.heads && a.kv_heads == b.kv_heads && a.feed_forward == b.feed_forward &&
         a.sliding_window == b.sliding_window && a.rope_base == b.rope_base && a.rope_scale == b.rope_scale;
}

Result<std::vector<FoldedLayer>> choose_layout(const FoldRule& rule, const ModelConfig& config,
                                               const LayerSimilarity& similarity, std::uint64_t seed,
                                               const DivergenceOf& divergence_of) {
  const int layers = similarity.layers;
  const double wanted = rule.remove < 1 ? std::ceil(rule.remove * layers - 1e-9) : rule.remove;
  if (wanted > layers - 2)
    return fail(ErrorCode::kInvalidArgument, "of " + std::to_string(layers) + " layers " +
                                                 std::to_string(static_cast<std::int64_t>(wanted)) +
                                                 " cannot go: the first and the last stay");
  Random random(seed);
  KINGLET_TRY(const auto kept,
              remove_layers(rule, static_cast<std::size_t>(wanted), similarity, random, divergence_of));
  std::vector<FoldedLayer> layout = layout_of(kept);
  if (rule.pairs > 0) {
    KINGLET_CHECK(share_pairs(rule, config, similarity, random, divergence_of, layout));
  } else if (rule.share > 1) {
    share_all(rule, config, similarity, layout);
  }
  return layout;
}

}  // namespace kinglet
