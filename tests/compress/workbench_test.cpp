// A workbench holds one layer at a time: what it reads of a checkpoint, and when.
#include "compress/workbench.h"

#include <gtest/gtest.h>

#include <map>

#include "compress/memory_checkpoint.h"
#include "engine/tiny_model_helper.h"

namespace kinglet {
namespace {

/// Counts reads, and who still holds what was read: copies, as of tensors that are changed while they are read.
class Watched final : public BorrowedCheckpoint {
 public:
  explicit Watched(const Checkpoint& other) : BorrowedCheckpoint(other) {}
  Result<TensorData> data(const TensorInfo& tensor) const override {
    auto copy = BorrowedCheckpoint::data(tensor);
    if (!copy) return copy;
    TensorData own = own_bytes({copy->bytes.begin(), copy->bytes.end()});
    ++reads[tensor.name];
    held[tensor.name] = own.owner;
    return own;
  }
  int layer_matrices_held() const {
    int count = 0;
    for (const auto& [name, owner] : held) count += is_layer_matrix(name) && !owner.expired();
    return count;
  }
  mutable std::map<std::string, int> reads;
  mutable std::map<std::string, std::weak_ptr<const void>> held;
};

TEST(Workbench, ReadsALayersMatricesWhenTheyArePackedAndKeepsNone) {
  const auto source = test::make_tiny_checkpoint({.layers = 4});
  Watched watched(*source);
  const auto opened = Workbench::open(watched, {.threads = 1, .with_tokenizer = false}, {});
  ASSERT_TRUE(opened) << opened.error().text();
  Workbench* const bench = opened->get();
  EXPECT_EQ(watched.reads.count("blk.0.attn_q.weight"), 0u);
  EXPECT_EQ(watched.reads.count("blk.3.ffn_down.weight"), 0u);
  EXPECT_GT(watched.reads["token_embd.weight"], 0);
  ASSERT_TRUE(bench->page_in(1));
  EXPECT_EQ(watched.reads["blk.1.attn_q.weight"], 1);
  EXPECT_EQ(watched.reads.count("blk.2.attn_q.weight"), 0u);
  ASSERT_TRUE(bench->page_out(1));
  EXPECT_EQ(watched.reads["blk.1.attn_q.weight"], 1);
  EXPECT_EQ(watched.layer_matrices_held(), 0);
}

TEST(Workbench, KnowsTheMatricesOfLayers) {
  EXPECT_TRUE(is_layer_matrix("blk.12.attn_q.weight"));
  EXPECT_TRUE(is_layer_matrix("blk.0.ffn_down.weight"));
  EXPECT_FALSE(is_layer_matrix("blk.0.attn_norm.weight"));
  EXPECT_FALSE(is_layer_matrix("blk.0.attn_q.weight.1"));
  EXPECT_FALSE(is_layer_matrix("token_embd.weight"));
}

}  // namespace
}  // namespace kinglet
