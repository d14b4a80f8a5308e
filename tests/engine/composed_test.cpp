// Matrices that are products of factors, and layers that share matrices: the same answers as the plain model that they
// stand for, one copy in memory, and clear errors for files that contradict themselves.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>

#include "engine/tiny_model_helper.h"
#include "kinglet/layer_map.h"

namespace kinglet {
namespace {

using test::make_tiny_checkpoint;
using test::TinyModelOptions;
using Floats = std::vector<float>;

/// A tiny checkpoint whose tensors can be taken out, added and renamed.
class Edited final : public Checkpoint {
 public:
  explicit Edited(const TinyModelOptions& options) : base_(make_tiny_checkpoint(options)), keys(base_->metadata()) {
    for (const TensorInfo& tensor : base_->tensors()) {
      infos_.push_back(tensor);
      data_[tensor.name] = *base_->data(tensor);
    }
  }
  const Metadata& metadata() const override { return keys; }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  Result<TensorData> data(const TensorInfo& tensor) const override { return data_.at(tensor.name); }
  std::string_view format() const override { return "memory"; }
  std::string_view path() const override { return "edited"; }
  std::uint64_t file_bytes() const override { return 1; }

  void remove(const std::string& name) {
    std::erase_if(infos_, [&](const TensorInfo& tensor) { return tensor.name == name; });
  }
  void add(const std::string& name, std::vector<std::int64_t> shape, const Floats& values,
           const std::string& type = "F32") {
    const BlockType& to = *find_block_type(type);
    const std::size_t blocks = values.size() / std::size_t(to.block_values);
    const auto bytes = std::make_shared<std::vector<std::byte>>(blocks * std::size_t(to.block_bytes));
    to.encode(values.data(), blocks, nullptr, bytes->data());
    infos_.push_back({.name = name, .type = &to, .shape = std::move(shape), .bytes = bytes->size()});
    data_[name] = {*bytes, bytes};
  }
  void copy(const std::string& from, const std::string& to) {
    TensorInfo info = *find(from);
    info.name = to;
    data_[to] = data_.at(from);
    remove(to);
    infos_.push_back(info);
  }

  Floats values(const std::string& name) const {
    const TensorInfo& tensor = *find(name);
    Floats values(static_cast<std::size_t>(tensor.elements()));
    const TensorData data = data_.at(name);
    tensor.type->decode(data.bytes.data(), values.size() / std::size_t(tensor.type->block_values), values.data());
    return values;
  }

 private:
  std::unique_ptr<Checkpoint> base_;
  std::vector<TensorInfo> infos_;
  std::map<std::string, TensorData> data_;

 public:
  Metadata keys;
};

Floats random_values(std::size_t count, float scale, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// In place of a matrix: factors of the given rank in one checkpoint, their product in the other.
void factorise(Edited& factored, Edited& dense, const std::string& name, std::int64_t rank, const std::string& type) {
  const TensorInfo tensor = *dense.find(name);
  const std::int64_t rows = tensor.rows(), columns = tensor.columns();
  factored.add(name + ".0", {rank, columns}, random_values(std::size_t(rank * columns), 0.1f, 1), type);
  factored.add(name + ".1", {rows, rank}, random_values(std::size_t(rows * rank), 0.2f, 2), type);
  const Floats encoder = factored.values(name + ".0"), decoder = factored.values(name + ".1");
  Floats product(std::size_t(rows * columns));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      double sum = 0;
      for (std::int64_t k = 0; k < rank; ++k)
        sum += double(decoder[std::size_t(r * rank + k)]) * encoder[std::size_t(k * columns + c)];
      product[std::size_t(r * columns + c)] = float(sum);
    }
  }
  factored.remove(name);
  dense.remove(name);
  dense.add(name, {rows, columns}, product);
  auto list = factored_matrices(factored.keys).value();
  list.push_back({"low-rank", name, rows, columns});
  set_factored_matrices(factored.keys, list);
}

std::shared_ptr<const Model> load(std::unique_ptr<Edited> checkpoint, int threads = 1) {
  auto model = Model::load(std::move(checkpoint), {.threads = threads, .with_tokenizer = false});
  EXPECT_TRUE(model) << model.error().text();
  return model ? *model : nullptr;
}

Floats logits_of(const std::shared_ptr<const Model>& model, std::size_t chunk = 64) {
  auto engine = Engine::create(model, {.cache = CacheType::kF32}).value();
  auto sequence = engine->new_sequence().value();
  const std::size_t vocabulary = std::size_t(model->config().vocabulary), count = 40;
  Floats logits(count * vocabulary);
  for (std::size_t begin = 0; begin < count; begin += chunk) {
    std::vector<Row> rows;
    std::vector<TokenId> ids;
    std::vector<std::int32_t> wanted;
    for (std::size_t i = begin; i < std::min(count, begin + chunk); ++i) {
      rows.push_back({sequence.get(), std::int32_t(i)});
      ids.push_back(TokenId((i * 37 + i * i) % vocabulary));
      wanted.push_back(std::int32_t(i - begin));
    }
    const auto done = engine->step(rows, ids, wanted, logits.data() + begin * vocabulary);
    EXPECT_TRUE(done) << done.error().text();
  }
  return logits;
}

void expect_close(const Floats& a, const Floats& b, float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  float size = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    size = std::max(size, std::abs(a[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  EXPECT_LE(worst, tolerance * size);
  EXPECT_GT(size, 0.1f);
}

class FactoredIn : public testing::TestWithParam<const char*> {};

TEST_P(FactoredIn, GivesTheProductsAnswers) {
  const TinyModelOptions options{.architecture = GetParam(), .type = "F32"};
  auto factored = std::make_unique<Edited>(options), dense = std::make_unique<Edited>(options);
  for (const char* kind : {"attn_q", "attn_k", "attn_output", "ffn_up", "ffn_down"})
    factorise(*factored, *dense, std::string("blk.1.") + kind + ".weight", 24, "F32");
  factorise(*factored, *dense, "token_embd.weight", 40, "F32");
  expect_close(logits_of(load(std::move(factored))), logits_of(load(std::move(dense))), 1e-5f);
}
INSTANTIATE_TEST_SUITE_P(Architectures, FactoredIn, testing::Values("llama", "qwen2", "gemma3"));

TEST(Factored, TakesAnyTypeForEachFactorAndCountsItsBytes) {
  const TinyModelOptions options{.type = "F32"};
  auto factored = std::make_unique<Edited>(options), dense = std::make_unique<Edited>(options);
  factorise(*factored, *dense, "blk.0.ffn_gate.weight", 32, "Q8_0");
  factorise(*factored, *dense, "blk.2.ffn_down.weight", 64, "Q5_1");
  // One factor reads int8 rows, the other floats.
  const Floats encoder = factored->values("blk.0.ffn_gate.weight.0");
  factored->remove("blk.0.ffn_gate.weight.0");
  factored->add("blk.0.ffn_gate.weight.0", {32, 96}, encoder, "F32");
  const auto small = load(std::move(factored)), large = load(std::move(dense));
  expect_close(logits_of(small), logits_of(large), 0.03f);
  EXPECT_LT(small->weight_bytes(), large->weight_bytes());
}

TEST(Factored, GivesTheSameBitsForAnyThreadsAndChunks) {
  const auto make = [](int threads) {
    const TinyModelOptions options;
    auto factored = std::make_unique<Edited>(options), dense = std::make_unique<Edited>(options);
    factorise(*factored, *dense, "blk.0.attn_v.weight", 32, "Q4_0");
    factorise(*factored, *dense, "blk.0.ffn_gate.weight", 20, "F16");
    factorise(*factored, *dense, "blk.0.ffn_up.weight", 20, "F16");
    factorise(*factored, *dense, "token_embd.weight", 32, "Q8_0");
    return load(std::move(factored), threads);
  };
  const Floats reference = logits_of(make(1));
  for (int threads : {2, 3}) EXPECT_EQ(logits_of(make(threads)), reference);
  EXPECT_EQ(logits_of(make(2), 1), reference);
}

/// Layer 1 multiplies with layer 0's matrices; `expanded` has a copy of them instead.
void share_first(Edited& shared, Edited& expanded, bool has_gate) {
  for (std::string_view kind : kLayerMatrixKinds) {
    if (kind == "ffn_gate" && !has_gate) continue;
    shared.remove(layer_matrix_name(1, kind));
    expanded.copy(layer_matrix_name(0, kind), layer_matrix_name(1, kind));
  }
  set_layer_map(shared.keys, {0, 0, 2});
}

class SharedIn : public testing::TestWithParam<const char*> {};

TEST_P(SharedIn, GivesTheExpandedModelsBitsWithOneCopy) {
  const TinyModelOptions options{.architecture = GetParam()};
  auto shared = std::make_unique<Edited>(options), expanded = std::make_unique<Edited>(options);
  share_first(*shared, *expanded, true);
  const auto small = load(std::move(shared), 2), large = load(std::move(expanded), 2);
  EXPECT_EQ(logits_of(small), logits_of(large));
  EXPECT_EQ(logits_of(small, 3), logits_of(large, 3));
  EXPECT_EQ(small->layers[1].up.get(), small->layers[0].up.get());
  EXPECT_NE(small->layers[2].up.get(), small->layers[0].up.get());
  EXPECT_NE(small->layers[1].attention_norm, small->layers[0].attention_norm);
  std::uint64_t layer = 0;
  for (const auto* each :
       {&small->layers[0].query, &small->layers[0].key, &small->layers[0].value, &small->layers[0].output,
        &small->layers[0].gate, &small->layers[0].up, &small->layers[0].down})
    layer += (*each)->bytes();
  EXPECT_EQ(large->weight_bytes() - small->weight_bytes(), layer);
}
INSTANTIATE_TEST_SUITE_P(Architectures, SharedIn, testing::Values("llama", "qwen2", "gemma3"));

void expect_error(const std::function<void(Edited&)>& change, std::string_view word,
                  ErrorCode code = ErrorCode::kCorrupt) {
  auto checkpoint = std::make_unique<Edited>(TinyModelOptions{.type = "F32"});
  Edited dense(TinyModelOptions{.type = "F32"});
  factorise(*checkpoint, dense, "blk.1.ffn_up.weight", 16, "F32");
  change(*checkpoint);
  auto model = Model::load(std::move(checkpoint), {.threads = 1, .with_tokenizer = false});
  ASSERT_FALSE(model) << word;
  EXPECT_EQ(model.error().code, code) << model.error().text();
  EXPECT_NE(model.error().text().find(word), std::string::npos) << model.error().text();
}

TEST(Factored, RefusesFactorsThatDoNotFit) {
  const std::string name = "blk.1.ffn_up.weight";
  expect_error([&](Edited& m) { m.remove(name + ".1"); }, "has 1 factors, expected 2");
  expect_error([&](Edited& m) { m.remove(name + ".0"); }, "has 0 factors");
  expect_error([&](Edited& m) { m.add(name + ".2", {16, 16}, Floats(256)); }, "has 3 factors");
  expect_error([&](Edited& m) { m.add(name, {160, 96}, Floats(160 * 96)); }, "and is a tensor");
  const auto replace = [&](int factor, std::vector<std::int64_t> shape) {
    return [=](Edited& m) {
      std::int64_t count = 1;
      for (std::int64_t size : shape) count *= size;
      m.remove(name + "." + std::to_string(factor));
      m.add(name + "." + std::to_string(factor), shape, Floats(std::size_t(count)));
    };
  };
  expect_error(replace(1, {160, 17}), "do not fit each other");
  expect_error(replace(1, {160, 4, 4}), "do not fit each other");
  expect_error(replace(1, {161, 16}), "says 160 x 96");
  expect_error(replace(0, {16, 95}), "says 160 x 96");
}

TEST(Factored, RefusesAListThatDoesNotFit) {
  const auto list = [](std::vector<std::string> entries) {
    return [=](Edited& m) { m.keys.set_strings(kFactorsKey, entries); };
  };
  expect_error(list({"low-rank 160x97 blk.1.ffn_up.weight"}), "160 x 97");
  expect_error(list({"low-rank 160x96 blk.1.ffn_up.weight", "low-rank 160x96 blk.1.ffn_up.weight"}), "stands twice");
  expect_error(list({"low-rank 160x96 blk.1.ffn_up.weight", "low-rank 160x96 blk.9.ffn_up.weight"}),
               "names 2 matrices, the model has 1");
  expect_error(list({"low-rank 160 blk.1.ffn_up.weight"}), "has the entry");
  expect_error(list({"low-rank 160x0 blk.1.ffn_up.weight"}), "has the entry");
  expect_error(list({"blk.1.ffn_up.weight"}), "is missing");
  expect_error(list({"folded 160x96 blk.1.ffn_up.weight"}), "'folded'", ErrorCode::kUnsupported);
  expect_error([](Edited& m) { m.keys.set_string(kFactorsKey, "low-rank"); }, "kinglet.factors");
  expect_error([](Edited& m) { m.keys.erase(kFactorsKey); }, "blk.1.ffn_up.weight is missing");
}

TEST(Shared, RefusesAMapThatDoesNotFit) {
  const auto map = [](std::vector<std::int64_t> values) {
    return [=](Edited& m) { m.keys.set_integers(kLayerMapKey, values); };
  };
  expect_error(map({0, 1}), "has 2 values for 3 layers");
  expect_error(map({0, 1, 3}), "layer 2 has the matrices of layer 3");
  expect_error(map({0, -1, 2}), "layer 1 has the matrices of layer -1");
  expect_error(map({1, 1, 2}), "layer 0 has the matrices of layer 1");
  expect_error(map({0, 0, 1}), "which has none of its own");
  expect_error(map({0, 0, 2}), "share matrices, but there is blk.1.attn_q.weight");
  expect_error([](Edited& m) { m.keys.set_string(kLayerMapKey, "0 0 2"); }, "kinglet.layer_map");
  expect_error(
      [](Edited& m) {
        Edited expanded({});
        share_first(m, expanded, true);
        m.keys.set_integers("llama.feed_forward_length", {160, 192, 160});
      },
      "differ in size");
}

}  // namespace
}  // namespace kinglet
