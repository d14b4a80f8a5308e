// Which layers go and which share, and the folded model as a view of the whole one.
#include <gtest/gtest.h>

#include "compress/share/choose_layers.h"
#include "compress/share/folded_checkpoint.h"
#include "engine/tiny_model_helper.h"
#include "kinglet/layer_map.h"

namespace kinglet {
namespace {

/// Layers with the given influences, each depth like the next one.
LayerSimilarity similarity(const std::vector<double>& influences) {
  LayerSimilarity made{static_cast<int>(influences.size()), {}};
  const int depths = made.layers + 1;
  made.cosines.assign(static_cast<std::size_t>(depths * depths), 1);
  for (int a = 0; a < depths; ++a) {
    for (int b = a + 1; b < depths; ++b) {
      double cosine = 1;
      for (int layer = a; layer < b; ++layer) cosine -= influences[static_cast<std::size_t>(layer)];
      made.cosines[static_cast<std::size_t>(a * depths + b)] = made.cosines[static_cast<std::size_t>(b * depths + a)] =
          cosine;
    }
  }
  return made;
}

const std::vector<double> kInfluences{0.01, 0.3, 0.2, 0.05, 0.06, 0.25, 0.15, 0.02};

ModelConfig config(std::int64_t window_of_layer_4 = 0) {
  ModelConfig made;
  made.layers = 8;
  made.per_layer.resize(8);
  made.per_layer[4].sliding_window = window_of_layer_4;
  return made;
}

Result<std::vector<FoldedLayer>> layout(const FoldRule& rule, std::uint64_t seed = 1, std::int64_t window = 0) {
  return choose_layout(rule, config(window), similarity(kInfluences), seed, nullptr);
}

std::vector<int> originals(const std::vector<FoldedLayer>& layers) {
  std::vector<int> list;
  for (const FoldedLayer& layer : layers) list.push_back(layer.original);
  return list;
}

TEST(ChooseLayers, LeavesOutThoseThatChangeLeastInside) {
  EXPECT_EQ(originals(layout({.remove = 2}).value()), (std::vector<int>{0, 1, 2, 5, 6, 7}));
  EXPECT_EQ(originals(layout({.remove = 0.1}).value()), (std::vector<int>{0, 1, 2, 4, 5, 6, 7}));  // 0.8 is one layer
  EXPECT_FALSE(layout({.remove = 7}));
  EXPECT_EQ(layout({.remove = 6})->size(), 2u);
}

TEST(ChooseLayers, RemovesOneByOneByWhatTheRestLoses) {
  // Layer 2 costs least at first; with it gone, layer 6 does.
  const auto divergence = [](const std::vector<FoldedLayer>& layers) -> Result<double> {
    double sum = 0;
    const auto has = [&](int layer) {
      for (const FoldedLayer& each : layers) {
        if (each.original == layer) return true;
      }
      return false;
    };
    for (int layer = 0; layer < 8; ++layer)
      sum += has(layer) ? 0 : layer == 2 ? 1 : layer == 3 && !has(2) ? 9 : 4 - 0.1 * layer;
    return sum;
  };
  const auto made = choose_layout({.remove = 2, .divergence = true}, config(), similarity(kInfluences), 1, divergence);
  EXPECT_EQ(originals(made.value()), (std::vector<int>{0, 1, 3, 4, 5, 7}));
}

TEST(ChooseLayers, ARandomChoiceFollowsTheSeedAndStaysInside) {
  std::vector<std::vector<int>> seen;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const auto kept = originals(layout({.remove = 3, .random = true}, seed).value());
    EXPECT_EQ(kept, originals(layout({.remove = 3, .random = true}, seed).value()));
    EXPECT_EQ(kept.size(), 5u);
    EXPECT_EQ(kept.front(), 0);
    EXPECT_EQ(kept.back(), 7);
    seen.push_back(kept);
  }
  EXPECT_NE(std::adjacent_find(seen.begin(), seen.end(), std::not_equal_to<>()), seen.end());
}

TEST(ChooseLayers, SharesInGroupsInsideWithTheMostInfluentialsMatrices) {
  const auto layers = layout({.share = 2}).value();
  const std::vector<int> owners{0, 1, 1, 3, 3, 5, 5, 7}, donors{0, 1, 1, 4, 4, 5, 5, 7};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(layers[i].owner, owners[i]) << i;
    EXPECT_EQ(layers[i].donor, donors[i]) << i;
  }
  const auto groups = layout({.share = 4}).value();
  EXPECT_EQ(groups[4].owner, 1);
  EXPECT_EQ(groups[6].owner, 5);
}

TEST(ChooseLayers, KeepsKindsOfAttentionApart) {
  const auto layers = layout({.share = 3}, 1, 512).value();
  EXPECT_EQ(layers[3].owner, 1);
  EXPECT_EQ(layers[4].owner, 4);
  EXPECT_EQ(layers[5].owner, 5);
}

TEST(ChooseLayers, PairsTheMostAlike) {
  const auto layers = layout({.pairs = 2}).value();
  // Outputs of 2 and 3 differ by layer 3's 0.05, of 3 and 4 by 0.06 (3 is taken), of 5 and 6 by 0.15.
  EXPECT_EQ(layers[3].owner, 2);
  EXPECT_EQ(layers[3].donor, 2);
  EXPECT_EQ(layers[6].owner, 5);
  EXPECT_EQ(layers[4].owner, 4);
  EXPECT_FALSE(layout({.pairs = 4}));
}

TEST(ChooseLayers, PairsByWhatTheAnswersLose) {
  const auto divergence = [](const std::vector<FoldedLayer>& layers) -> Result<double> {
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) {
      if (layers[i + 1].owner == static_cast<int>(i))
        return (i == 4 ? 1.0 : 2.0 + static_cast<double>(i)) - (layers[i].donor == static_cast<int>(i) ? 0 : 0.5);
    }
    return 100.0;
  };
  const auto made =
      choose_layout({.pairs = 2, .divergence = true}, config(), similarity(kInfluences), 1, divergence).value();
  EXPECT_EQ(made[5].owner, 4);
  EXPECT_EQ(made[4].donor, 5);
  EXPECT_EQ(made[2].owner, 1);
}

TEST(ChooseLayers, PairsAreChosenWithTheEarlierOnesSharing) {
  // Layers 4 and 5 lose little alone, much once 1 and 2 share.
  const auto divergence = [](const std::vector<FoldedLayer>& layers) -> Result<double> {
    const auto shares = [&](std::size_t first) { return layers[first + 1].owner == static_cast<int>(first); };
    double sum = 0;
    for (std::size_t i = 1; i + 2 < layers.size(); ++i)
      sum += !shares(i) ? 0 : i == 1 ? 1 : i == 4 ? (shares(1) ? 10 : 2) : i == 5 ? 2.5 : 20;
    return sum;
  };
  const auto made =
      choose_layout({.pairs = 2, .divergence = true}, config(), similarity(kInfluences), 1, divergence).value();
  EXPECT_EQ(made[2].owner, 1);
  EXPECT_EQ(made[6].owner, 5);
  EXPECT_EQ(made[4].owner, 4);
}

TEST(FoldedCheckpoint, TakesVectorsFromTheLayerAndMatricesFromTheDonor) {
  const auto source = test::make_tiny_checkpoint({.architecture = "qwen2", .layers = 4});
  auto folded = FoldedCheckpoint::create(*source, {{0, 0, 0}, {2, 3, 1}, {3, 3, 1}}).value();
  EXPECT_EQ(folded->metadata().integer("qwen2.block_count", 1, 9).value(), 3);
  EXPECT_EQ(layer_map(folded->metadata(), 3).value(), (std::vector<int>{0, 1, 1}));
  const auto same = [&](const char* mine, const char* theirs) {
    const TensorInfo* info = folded->find(mine);
    ASSERT_NE(info, nullptr) << mine;
    const auto a = folded->data(*info).value(), b = source->data(*source->find(theirs)).value();
    EXPECT_EQ(a.bytes.data(), b.bytes.data()) << mine;
  };
  same("blk.1.attn_norm.weight", "blk.2.attn_norm.weight");
  same("blk.2.attn_norm.weight", "blk.3.attn_norm.weight");
  same("blk.1.attn_q.weight", "blk.3.attn_q.weight");
  same("blk.1.attn_q.bias", "blk.3.attn_q.bias");
  same("blk.2.attn_q.bias", "blk.3.attn_q.bias");
  EXPECT_EQ(folded->find("blk.2.attn_q.weight"), nullptr);
  EXPECT_EQ(folded->find("blk.3.attn_norm.weight"), nullptr);
  auto donors = FoldedCheckpoint::create(*source, {{0, 0, 0}, {2, 3, 1}, {3, 3, 1}}, FoldedNorms::kDonors).value();
  EXPECT_EQ(donors->data(*donors->find("blk.1.attn_norm.weight"))->bytes.data(),
            source->data(*source->find("blk.3.attn_norm.weight"))->bytes.data());
}

TEST(FoldedCheckpoint, KeepsTheKindOfAttentionOfEachLayer) {
  const auto gemma = test::make_tiny_checkpoint({.architecture = "gemma3", .layers = 8, .window = 16});
  const auto whole = find_architecture("gemma3")->configure(gemma->metadata()).value();
  ASSERT_EQ(whole.per_layer[5].sliding_window, 0);  // every sixth sees everything
  std::vector<FoldedLayer> layers = whole_layout(8);
  layers.erase(layers.begin() + 2);
  for (int i = 0; i < 7; ++i) layers[static_cast<std::size_t>(i)].owner = i;
  auto folded = FoldedCheckpoint::create(*gemma, layers).value();
  const auto config = find_architecture("gemma3")->configure(folded->metadata()).value();
  EXPECT_EQ(config.per_layer[4].sliding_window, 0);
  EXPECT_EQ(config.per_layer[5].sliding_window, 16);
  EXPECT_TRUE(Model::load(std::move(folded), {.threads = 1, .with_tokenizer = false}));
  // Gemma 2's pattern is in the architecture alone.
  const auto old = test::make_tiny_checkpoint({.architecture = "gemma2", .layers = 8, .window = 16});
  const auto refused = FoldedCheckpoint::create(*old, layers);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
}

TEST(FoldedCheckpoint, UnfoldsToCopies) {
  const auto source = test::make_tiny_checkpoint({.layers = 3});
  auto folded = FoldedCheckpoint::create(*source, {{0, 0, 0}, {1, 0, 0}, {2, 2, 2}}).value();
  auto whole = FoldedCheckpoint::create(*folded, whole_layout(3)).value();
  EXPECT_FALSE(whole->metadata().contains(kLayerMapKey));
  EXPECT_EQ(whole->tensors().size(), source->tensors().size());
  EXPECT_EQ(whole->data(*whole->find("blk.1.ffn_up.weight"))->bytes.data(),
            source->data(*source->find("blk.0.ffn_up.weight"))->bytes.data());
}

}  // namespace
}  // namespace kinglet
