// Hugging Face folders in the words of GGUF, and folders that are broken.
#include <gtest/gtest.h>

#include <cstring>

#include "base/json.h"
#include "expect_error.h"
#include "kinglet/checkpoint.h"
#include "model/format/hf.h"
#include "nlohmann/json.hpp"
#include "temporary_folder.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;
using Folder = test::TemporaryFolder;

constexpr std::string_view kConfig =
    R"({"architectures":["LlamaForCausalLM"],"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,)"
    R"("num_key_value_heads":1,"intermediate_size":8,"rms_norm_eps":1e-06,"rope_theta":10000.0,"vocab_size":3})";

struct Weight {
  std::string name;
  std::vector<std::int64_t> shape;
};
const std::vector<Weight> kWeights = {{"model.embed_tokens.weight", {3, 4}},
                                      {"model.norm.weight", {4}},
                                      {"model.layers.0.self_attn.q_proj.weight", {8, 4}},
                                      {"model.layers.0.self_attn.k_proj.weight", {4, 4}},
                                      {"lm_head.weight", {3, 4}}};

// Values 0, 1, 2, ... in each tensor.
std::string weights_file(const std::vector<Weight>& weights) {
  std::vector<SafetensorsTensor> tensors;
  std::string data;
  for (const Weight& weight : weights) {
    std::uint64_t values = 1;
    for (std::int64_t size : weight.shape) values *= static_cast<std::uint64_t>(size);
    tensors.push_back({weight.name, "F32", nullptr, weight.shape, 0, values * 4});
    for (std::uint64_t i = 0; i < values; ++i) {
      const auto value = static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), 4);
    }
  }
  return safetensors_header(tensors, {}) + data;
}

void write_model(const Folder& folder, std::string_view config = kConfig,
                 const std::vector<Weight>& weights = kWeights) {
  folder.write("config.json", config);
  folder.write("model.safetensors", weights_file(weights));
}

std::vector<float> values_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (!tensor) return {};
  const auto data = checkpoint.data(*tensor);
  EXPECT_TRUE(data);
  std::vector<float> values(static_cast<std::size_t>(tensor->elements()));
  std::memcpy(values.data(), data->bytes.data(), data->bytes.size());
  return values;
}

void refused(const Folder& folder, ErrorCode code, std::string_view part, std::string_view file = "") {
  SCOPED_TRACE(std::string(part));
  expect_error(open_checkpoint(folder.path() + std::string(file)), code, part, folder.path());
}

std::string changed(std::string_view key, const Json& value) {
  Json config = *parse_json(kConfig, "");
  config[std::string(key)] = value;
  return dump_json(config);
}

TEST(HuggingFace, NamesSizesAndRotaryRows) {
  Folder folder;
  write_model(folder);
  const auto model = open_checkpoint(folder.path());
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ((*model)->architecture(), "llama");
  EXPECT_EQ((*model)->format(), "safetensors");
  EXPECT_EQ(*(*model)->metadata().integer("llama.block_count", 1, 9), 1);
  EXPECT_FLOAT_EQ(static_cast<float>(*(*model)->metadata().number("llama.attention.layer_norm_rms_epsilon", 0, 1)),
                  1e-6f);
  const auto query = values_of(**model, "blk.0.attn_q.weight");
  ASSERT_EQ(query.size(), 32u);
  // Two heads of four rows: rows 0 1 2 3 come as 0 2 1 3.
  for (int head = 0; head < 2; ++head)
    for (int row = 0; row < 4; ++row) {
      const int from = head * 4 + (row == 1 ? 2 : row == 2 ? 1 : row);
      EXPECT_EQ(query[static_cast<std::size_t>((head * 4 + row) * 4)], static_cast<float>(from * 4));
    }
  EXPECT_NE((*model)->find("output.weight"), nullptr);
  EXPECT_TRUE(open_checkpoint(folder.path("model.safetensors")));
  EXPECT_TRUE(open_checkpoint(folder.path() + "/"));
}

TEST(HuggingFace, GemmaNormsGetOne) {
  Folder folder;
  write_model(folder,
              R"({"architectures":["Gemma3ForCausalLM"],"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":1,)"
              R"("num_key_value_heads":1,"head_dim":4,"intermediate_size":8,"vocab_size":3,"sliding_window":7,)"
              R"("query_pre_attn_scalar":16})",
              {{"model.embed_tokens.weight", {3, 4}}, {"model.norm.weight", {4}}});
  const auto model = open_checkpoint(folder.path());
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(values_of(**model, "output_norm.weight"), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(values_of(**model, "token_embd.weight")[1], 1);
  EXPECT_FLOAT_EQ(static_cast<float>(*(*model)->metadata().number("gemma3.attention.scale", 0, 1)), 0.25f);
}

TEST(HuggingFace, ATiedHeadIsLeftOut) {
  Folder folder;
  write_model(folder, changed("tie_word_embeddings", true));
  const auto model = open_checkpoint(folder.path());
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ((*model)->find("output.weight"), nullptr);
}

TEST(HuggingFace, SideFiles) {
  Folder folder;
  write_model(folder);
  folder.write("tokenizer.json", "{\"model\":{}}");
  folder.write("tokenizer_config.json", R"({"chat_template":"from the config","add_bos_token":true})");
  folder.write("generation_config.json", R"({"eos_token_id":[1,2],"temperature":0.5,"top_k":20,"do_sample":true})");
  const auto text = [&](std::string_view key) {
    const auto model = open_checkpoint(folder.path());
    EXPECT_TRUE(model) << model.error().text();
    return (*model)->metadata().string_or(key, "none").value_or("wrong");
  };
  EXPECT_EQ(text("tokenizer.huggingface.json"), "{\"model\":{}}");
  EXPECT_EQ(text("tokenizer.chat_template"), "from the config");
  folder.write("chat_template.json", R"({"chat_template":"from the json"})");
  EXPECT_EQ(text("tokenizer.chat_template"), "from the json");
  folder.write("chat_template.jinja", "from the jinja");
  EXPECT_EQ(text("tokenizer.chat_template"), "from the jinja");
  const auto model = open_checkpoint(folder.path());
  const Metadata& metadata = (*model)->metadata();
  EXPECT_EQ(**metadata.integers("tokenizer.ggml.eos_token_ids"), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(*metadata.integer("tokenizer.ggml.eos_token_id", 0, 9), 1);
  EXPECT_EQ(*metadata.number("kinglet.generation.temperature", 0, 1), 0.5);
  EXPECT_EQ(*metadata.integer("kinglet.generation.top_k", 0, 100), 20);
  EXPECT_TRUE(*metadata.flag_or("tokenizer.ggml.add_bos_token", false));
}

TEST(HuggingFace, NamedTemplates) {
  Folder folder;
  write_model(folder);
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})");
  const auto model = open_checkpoint(folder.path());
  ASSERT_TRUE(model);
  EXPECT_EQ(*(*model)->metadata().string("tokenizer.chat_template"), "D");
  EXPECT_EQ(*(*model)->metadata().string("tokenizer.chat_template.tool_use"), "T");
}

Metadata flat(std::string_view text) {
  const auto result = flatten_config(*parse_json(text, ""), "config.json");
  EXPECT_TRUE(result) << result.error().text();
  return *result;
}

TEST(HuggingFaceConfig, WaysToSayTheSame) {
  EXPECT_EQ(*flat(R"({"dtype":"bfloat16"})").string("torch_dtype"), "bfloat16");
  EXPECT_EQ(*flat(R"({"rope_parameters":{"rope_theta":5.0}})").number("rope_theta", 0, 9), 5);
  const Metadata scaled = flat(R"({"rope_parameters":{"rope_theta":5.0,"rope_type":"linear","factor":8}})");
  EXPECT_EQ(*scaled.string("rope_scaling.rope_type"), "linear");
  EXPECT_EQ(*scaled.integer("rope_scaling.factor", 0, 9), 8);
  const Metadata kinds = flat(R"({"rope_parameters":{"full_attention":{"rope_theta":6.0,"rope_type":"default"},)"
                              R"("sliding_attention":{"rope_theta":7.0}}})");
  EXPECT_EQ(*kinds.number("rope_theta", 0, 9), 6);
  EXPECT_EQ(*kinds.number("rope_local_base_freq", 0, 9), 7);
  const Metadata nested = flat(R"({"model_type":"outer","text_config":{"model_type":"inner","hidden_size":3}})");
  EXPECT_EQ(*nested.string("model_type"), "inner");
  EXPECT_EQ(*nested.integer("hidden_size", 0, 9), 3);
  EXPECT_FALSE(flat(R"({"head_dim":null})").contains("head_dim"));
  constexpr std::string_view kS = "\"sliding_attention\"", kF = "\"full_attention\"";
  const auto types = [](std::initializer_list<std::string_view> list) {
    std::string text = "{\"layer_types\":[";
    for (std::string_view item : list) text += (text.back() == '[' ? "" : ",") + std::string(item);
    return text + "]}";
  };
  EXPECT_EQ(*flat(types({kS, kS, kF, kS, kS, kF, kS})).integer("sliding_window_pattern", 0, 9), 3);
  EXPECT_EQ(*flat(types({kF, kF})).integer("sliding_window_pattern", 0, 9), 1);
  EXPECT_EQ(**flat(types({kF, kS, kS, kF})).integers("sliding_window_pattern"),
            (std::vector<std::int64_t>{0, 1, 1, 0}));
}

TEST(HuggingFaceMalformed, Configuration) {
  Folder folder;
  const auto with = [&](std::string_view config, ErrorCode code, std::string_view part) {
    write_model(folder, config);
    refused(folder, code, part);
  };
  with("", ErrorCode::kCorrupt, "not valid JSON");
  with("[]", ErrorCode::kCorrupt, "not a JSON object");
  with("{", ErrorCode::kCorrupt, "not valid JSON");
  with("{}", ErrorCode::kUnsupported, "does not say which architecture");
  with(std::string(100000, '['), ErrorCode::kExhausted, "nested deeper");
  with(changed("architectures", Json::array({"GPTNeoXForCausalLM"})), ErrorCode::kUnsupported,
       "'GPTNeoXForCausalLM' is not supported");
  with(changed("architectures", "LlamaForCausalLM"), ErrorCode::kUnsupported, "does not say");
  with(changed("architectures", Json::array({"\x1b[31m"})), ErrorCode::kUnsupported, "'\\x1b[31m'");
  with(changed("quantization_config", {{"quant_method", "gptq"}}), ErrorCode::kUnsupported, "quantized with gptq");
  with(changed("quantization_config", {{"quant_method", "awq"}}), ErrorCode::kUnsupported, "quantized with awq");
  with(changed("quantization_config", {{"bits", 4}}), ErrorCode::kUnsupported, "quantized with an unnamed method");
  with(changed("num_attention_heads", 3), ErrorCode::kCorrupt, "do not make 3 heads");
  with(changed("num_attention_heads", 8), ErrorCode::kCorrupt, "heads of an even length");
  with(changed("num_attention_heads", 0), ErrorCode::kCorrupt, "head_count' is 0");
  with(changed("num_attention_heads", "2"), ErrorCode::kCorrupt, "is not an integer");
  with(changed("num_hidden_layers", 0), ErrorCode::kCorrupt, "block_count' is 0");
  with(changed("num_hidden_layers", 1000000000), ErrorCode::kCorrupt, "block_count' is 1000000000");
  Json many;
  for (int i = 0; i < 5000; ++i) many["k" + std::to_string(i)] = i;
  with(changed("many", many), ErrorCode::kExhausted, "more than 4096 keys");
}

TEST(HuggingFaceMalformed, Weights) {
  Folder folder;
  const auto with = [&](std::vector<Weight> weights, ErrorCode code, std::string_view part) {
    write_model(folder, kConfig, weights);
    refused(folder, code, part);
  };
  with({}, ErrorCode::kCorrupt, "has no weights");
  with({{"model.embed_tokens.weight", {3, 4}}, {"model.layers.0.mystery.weight", {4}}}, ErrorCode::kUnsupported,
       "'model.layers.0.mystery.weight' has no place");
  with({{"model.layers.1.self_attn.q_proj.weight", {8, 4}}}, ErrorCode::kCorrupt, "only 1 layers");
  with({{"model.layers.00.mlp.up_proj.weight", {8, 4}}}, ErrorCode::kUnsupported, "no place");
  with({{"model.layers.-1.mlp.up_proj.weight", {8, 4}}}, ErrorCode::kUnsupported, "no place");
  with({{"model.layers.18446744073709551616.mlp.up_proj.weight", {8, 4}}}, ErrorCode::kUnsupported, "no place");
  with({{"model.layers.0.self_attn.k_proj.weight", {3, 4}}}, ErrorCode::kCorrupt, "heads of an even length");
  with({{"model.norm.weight", {1, 1, 1, 1, 4}}}, ErrorCode::kUnsupported, "has 5 dimensions");
}

TEST(HuggingFaceMalformed, Folders) {
  Folder folder;
  refused(folder, ErrorCode::kCorrupt, "a folder without model.safetensors");
  folder.write("model.gguf", "GGUF");
  refused(folder, ErrorCode::kUnsupported, "holds GGUF files");
  std::filesystem::remove(folder.path("model.gguf"));
  folder.write("pytorch_model.bin", "PK");
  refused(folder, ErrorCode::kUnsupported, "PyTorch pickles (pytorch_model.bin)");
  refused(folder, ErrorCode::kUnsupported, "PyTorch pickle file (.bin)", "/pytorch_model.bin");
  folder.write("model.safetensors", weights_file(kWeights));
  refused(folder, ErrorCode::kNotFound, "no config.json beside the weights");
  folder.write("second.safetensors", weights_file(kWeights));
  std::filesystem::remove(folder.path("model.safetensors"));
  folder.write("third.safetensors", weights_file(kWeights));
  refused(folder, ErrorCode::kCorrupt, "2 safetensors files and no model.safetensors.index.json");
  expect_error(open_checkpoint(folder.path("absent")), ErrorCode::kNotFound, "", folder.path());
  std::filesystem::create_symlink("loop", folder.path("loop"));
  EXPECT_FALSE(open_checkpoint(folder.path("loop")));
  std::filesystem::create_symlink("loop.safetensors", folder.path("loop.safetensors"));
  EXPECT_FALSE(open_checkpoint(folder.path("loop.safetensors")));
}

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    folder.write("config.json", kConfig);
    folder.write("m-00001-of-00002.safetensors", weights_file({kWeights[0], kWeights[1]}));
    folder.write("m-00002-of-00002.safetensors", weights_file({kWeights[2], kWeights[3], kWeights[4]}));
    for (int i = 0; i < 5; ++i) map[kWeights[static_cast<std::size_t>(i)].name] = i < 2 ? first : second;
    write_index();
  }
  void write_index() { folder.write("model.safetensors.index.json", dump_json({{"weight_map", map}})); }

  Folder folder;
  Json map = Json::object();
  const std::string first = "m-00001-of-00002.safetensors", second = "m-00002-of-00002.safetensors";
};

TEST_F(Shards, AreOneModel) {
  for (std::string_view file : {"", "/model.safetensors.index.json", "/m-00001-of-00002.safetensors"}) {
    const auto model = open_checkpoint(folder.path() + std::string(file));
    ASSERT_TRUE(model) << model.error().text();
    EXPECT_EQ((*model)->tensors().size(), 5u);
    EXPECT_EQ(values_of(**model, "output.weight")[11], 11);
  }
}
TEST_F(Shards, Missing) {
  std::filesystem::remove(folder.path(second));
  refused(folder, ErrorCode::kNotFound, "");
}
TEST_F(Shards, ExtraTensorInAFile) {
  map.erase("model.norm.weight");
  write_index();
  refused(folder, ErrorCode::kCorrupt, "the files hold 5 tensors, the index names 4");
}
TEST_F(Shards, TensorOfTheIndexIsAbsent) {
  map["model.layers.0.mlp.up_proj.weight"] = second;
  write_index();
  refused(folder, ErrorCode::kCorrupt, "is not in m-00002-of-00002.safetensors");
}
TEST_F(Shards, TensorInTheOtherFile) {
  map["model.norm.weight"] = second;
  write_index();
  refused(folder, ErrorCode::kCorrupt, "'model.norm.weight' is not in m-00002");
}
TEST_F(Shards, RepeatedFile) {
  std::filesystem::copy_file(folder.path(first), folder.path(second),
                             std::filesystem::copy_options::overwrite_existing);
  refused(folder, ErrorCode::kCorrupt, "stands in two files");
}
TEST_F(Shards, TruncatedFile) {
  std::filesystem::resize_file(folder.path(second), 100);
  refused(folder, ErrorCode::kCorrupt, "");
}
TEST_F(Shards, OtherCaseInTheName) {
  map["model.norm.weight"] = "M-00001-of-00002.safetensors";
  write_index();
  refused(folder, ErrorCode::kNotFound, "");
}
TEST_F(Shards, PathOutOfTheFolder) {
  map["model.norm.weight"] = "../m-00001-of-00002.safetensors";
  write_index();
  refused(folder, ErrorCode::kCorrupt, "leads out of");
}

}  // namespace
}  // namespace kinglet
