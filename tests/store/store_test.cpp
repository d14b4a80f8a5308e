#include "kinglet/store.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/file.h"
#include "base/sha256.h"
#include "store/http.h"
#include "store/hub.h"
#include "store/layout.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

class Store : public testing::Test {
 protected:
  void SetUp() override {
    setenv("KINGLET_HOME", folder.path("home").c_str(), 1);
    setenv("HF_ENDPOINT", "http://127.0.0.1:9", 1);  // nothing answers there: a test that goes out fails
  }
  test::TemporaryFolder folder;
};

TEST(ModelName, TakesPlainNamesOnly) {
  EXPECT_EQ(ModelName::parse("SmolLM2-135M_a.b")->text(), "smollm2-135m_a.b");
  for (const std::string_view bad : {"", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a..b", "x.sha256",
                                     "x.gguf", "x.lock", "x.partial", "a b", "a\n", "caf\xc3\xa9", "a:b", "a*", "x."}) {
    EXPECT_FALSE(ModelName::parse(bad)) << bad;
  }
  EXPECT_FALSE(ModelName::parse(std::string_view("a\0b", 3)));
  EXPECT_TRUE(ModelName::parse(std::string(96, 'a')));
  EXPECT_FALSE(ModelName::parse(std::string(97, 'a')));
}

TEST(ModelName, IsMadeFromAnything) {
  EXPECT_EQ(ModelName::from("My Model (v2)")->text(), "my-model-v2");
  EXPECT_EQ(ModelName::from("../../etc/passwd")->text(), "etc-passwd");
  EXPECT_EQ(ModelName::from(std::string(300, 'a'))->text(), std::string(96, 'a'));
  EXPECT_EQ(ModelName::from("x.sha256.lock")->text(), "x");
  EXPECT_FALSE(ModelName::from("..."));
}

TEST(Catalogue, IsWellFormed) {
  std::set<std::string_view> names;
  for (const CatalogueModel& model : catalogue()) {
    EXPECT_EQ(ModelName::parse(model.name)->text(), model.name);
    EXPECT_TRUE(names.insert(model.name).second);
    EXPECT_FALSE(model.licence.empty());
    EXPECT_TRUE(model.licence_url.starts_with("https://"));
    EXPECT_TRUE(parse_hub_address(std::string("hf:") + std::string(model.hub)));
    ASSERT_FALSE(model.files.empty());
    for (const CatalogueFile& file : model.files) {
      EXPECT_EQ(Digest::parse(file.sha256)->hex(), file.sha256);
      EXPECT_TRUE(is_relative_path(file.path));
      EXPECT_GT(file.bytes, 0u);
    }
    std::uint64_t parts = 0;
    for (const CataloguePackage& package : model.packages) parts += package.bytes;
    EXPECT_EQ(parts, model.bytes()) << model.name;
    EXPECT_EQ(find_catalogue_model(model.name), &model);
  }
  EXPECT_EQ(catalogue()[0].name, "smollm2-135m-instruct");
  EXPECT_EQ(find_catalogue_model("nothing"), nullptr);
}

TEST(RelativePath, StaysBelowItsFolder) {
  EXPECT_TRUE(is_relative_path("1_Pooling/config.json"));
  for (const std::string_view bad : {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\tb"}) {
    EXPECT_FALSE(is_relative_path(bad)) << bad;
  }
}

TEST_F(Store, FollowsItsVariables) {
  EXPECT_EQ(store_folder(), folder.path("home"));
  unsetenv("KINGLET_HOME");
  setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(store_folder(), "/data/kinglet");
  unsetenv("XDG_DATA_HOME");
  setenv("HOME", "/home/x", 1);
  EXPECT_EQ(store_folder(), "/home/x/.local/share/kinglet");
}

TEST_F(Store, IsEmptyBeforeItExists) {
  EXPECT_TRUE(stored_models()->empty());
  EXPECT_EQ(*remove_partial_downloads(), 0u);
}

TEST_F(Store, TakesACopyOfAFile) {
  const std::string path = folder.write("Tiny Model.gguf", "GGUF data");
  const auto pulled = pull_model(path);
  ASSERT_TRUE(pulled) << pulled.error().text();
  EXPECT_EQ(pulled->model.name, "tiny-model");
  EXPECT_EQ(folder.read("home/models/tiny-model.gguf"), "GGUF data");
  EXPECT_EQ(folder.read("home/models/tiny-model.sha256"), sha256("GGUF data").hex() + "  tiny-model.gguf\n");
  EXPECT_TRUE(list_folder(folder.path("home/partial"))->empty());
  EXPECT_EQ(*resolve_model("tiny-model"), folder.path("home/models/tiny-model.gguf"));
  EXPECT_EQ(*resolve_model("TINY-Model"), folder.path("home/models/tiny-model.gguf"));
  const auto again = pull_model(path);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->was_there);
  EXPECT_EQ(*local_model_names(), std::vector<std::string>{"tiny-model"});
  ASSERT_TRUE(verify_model(pulled->model));
  EXPECT_EQ(*remove_model("tiny-model"), 9u);
  EXPECT_TRUE(list_folder(folder.path("home/models"))->empty());
  EXPECT_EQ(remove_model("tiny-model").error().code, ErrorCode::kNotFound);
}

TEST_F(Store, TakesACopyOfAFolder) {
  ASSERT_TRUE(make_folders(folder.path("bert/1_Pooling")));
  folder.write("bert/config.json", "{}");
  folder.write("bert/model.safetensors", "weights");
  folder.write("bert/1_Pooling/config.json", "{}");
  folder.write("bert/modeling.py", "import os");
  folder.write("bert/pytorch_model.bin", "pickle");
  const auto pulled = pull_model(folder.path("bert"));
  ASSERT_TRUE(pulled) << pulled.error().text();
  EXPECT_TRUE(pulled->model.is_folder);
  EXPECT_EQ(*list_folder(folder.path("home/models/bert")),
            (std::vector<std::string>{"1_Pooling", "config.json", "model.safetensors"}));
  EXPECT_EQ(*resolve_model("bert"), folder.path("home/models/bert"));
  ASSERT_TRUE(verify_model(pulled->model));
  ASSERT_TRUE(remove_model("bert"));
  EXPECT_TRUE(list_folder(folder.path("home/models"))->empty());
}

TEST_F(Store, TakesAllShardsAndResolvesToTheFirst) {
  folder.write("big-00001-of-00002.gguf", "GGUF 1");
  const std::string second = folder.write("big-00002-of-00002.gguf", "GGUF 2");
  const auto pulled = pull_model(second);
  ASSERT_TRUE(pulled) << pulled.error().text();
  EXPECT_EQ(pulled->model.name, "big");
  EXPECT_EQ(*resolve_model("big"), folder.path("home/models/big/big-00001-of-00002.gguf"));
}

TEST_F(Store, RefusesWhatIsNoModel) {
  const auto zip = pull_model(folder.write("x.gguf", "PK\3\4"));
  ASSERT_FALSE(zip);
  EXPECT_EQ(zip.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(zip.error().hint.find("zip"), std::string::npos);
  EXPECT_EQ(pull_model(folder.write("y.gguf", "")).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(make_folders(folder.path("empty")));
  EXPECT_EQ(pull_model(folder.path("empty")).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(pull_model("/dev/null").error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(stored_models()->empty());
}

TEST_F(Store, NeverReplacesAModelByAnother) {
  ASSERT_TRUE(pull_model(folder.write("a.gguf", "GGUF one")));
  const auto other = pull_model(folder.write("a.gguf", "GGUF two"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(other.error().hint.find("--name"), std::string::npos);
  PullOptions options;
  options.name = "b";
  ASSERT_TRUE(pull_model(folder.path("a.gguf"), options));
  EXPECT_EQ(folder.read("home/models/a.gguf"), "GGUF one");
}

TEST_F(Store, ChecksTheChecksumThatIsGiven) {
  PullOptions options;
  options.sha256 = sha256("other").hex();
  EXPECT_EQ(pull_model(folder.write("a.gguf", "GGUF"), options).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(stored_models()->empty());
  EXPECT_TRUE(list_folder(folder.path("home/partial"))->empty());
  options.sha256 = "zz";
  EXPECT_EQ(pull_model(folder.path("a.gguf"), options).error().code, ErrorCode::kInvalidArgument);
  options.sha256 = sha256("GGUF").hex();
  EXPECT_TRUE(pull_model(folder.path("a.gguf"), options));
}

TEST_F(Store, VerifyNamesTheDamagedFile) {
  const auto pulled = pull_model(folder.write("a.gguf", "GGUF"));
  ASSERT_TRUE(pulled);
  ASSERT_TRUE(remove_file(pulled->model.path));
  folder.write("home/models/a.gguf", "GGUX");
  const auto damaged = verify_model(*find_stored_model("a"));
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(damaged.error().place, pulled->model.path);
  folder.write("home/models/a.sha256", "0000  ../../etc/passwd\n");
  EXPECT_EQ(verify_model(*find_stored_model("a")).error().code, ErrorCode::kCorrupt);
}

TEST_F(Store, ResolveTakesPathsAsTheyAre) {
  const std::string file = folder.write("x.gguf", "GGUF");
  EXPECT_EQ(*resolve_model(file), file);
  EXPECT_EQ(*resolve_model(folder.path()), file);  // a folder with one model means that model
  folder.write("config.json", "{}");
  EXPECT_EQ(*resolve_model(folder.path()), folder.path());
}

TEST_F(Store, ResolveSaysWhatToDo) {
  const auto known = resolve_model("gemma-3-270m");
  ASSERT_FALSE(known);
  EXPECT_EQ(known.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(known.error().hint, "Fetch it first: kinglet pull gemma-3-270m");
  EXPECT_NE(resolve_model("smolm2-135m").error().hint.find("smollm2-135m-instruct"), std::string::npos);
  EXPECT_NE(resolve_model("gemma").error().hint.find("kinglet pull gemma-3-270m"), std::string::npos);
  EXPECT_EQ(resolve_model("/nowhere/x.gguf").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(resolve_model("").error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(resolve_model("hf:a/b").error().hint.find("kinglet pull hf:a/b"), std::string::npos);
  EXPECT_FALSE(resolve_model("../home"));
}

TEST_F(Store, RemovesWhatDownloadsLeft) {
  ASSERT_TRUE(make_store());
  folder.write("home/partial/abc.partial", "12345");
  EXPECT_EQ(*remove_partial_downloads(), 5u);
  EXPECT_TRUE(list_folder(folder.path("home/partial"))->empty());
}

TEST_F(Store, SaysWhenTheDiskIsTooSmall) {
  ASSERT_TRUE(make_store());
  const auto space = check_space(1ull << 60);
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().code, ErrorCode::kExhausted);
  EXPECT_NE(space.error().message.find("1152921504606846976"), std::string::npos);
}

TEST(HubAddress, IsParsed) {
  const auto address = parse_hub_address("hf:Qwen/Qwen2.5-GGUF:Q4_K_M");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->repository, "Qwen/Qwen2.5-GGUF");
  EXPECT_EQ(address->quant, "Q4_K_M");
  for (const std::string_view bad :
       {"hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b?x", "hf:a/b:q/../x", "hf:/b"}) {
    EXPECT_FALSE(parse_hub_address(bad)) << bad;
  }
}

HubModel hub_with(std::initializer_list<const char*> paths) {
  HubModel model;
  for (const char* path : paths) model.files.push_back({.path = path, .bytes = {}, .digest = {}});
  return model;
}

TEST(ChooseHubFiles, TakesOneQuantization) {
  const HubModel model = hub_with({"README.md", "m-Q4_K.gguf", "m-q4_k_m.gguf", "m-Q8_0.gguf", "mmproj-m.gguf"});
  EXPECT_EQ(choose_hub_files(model, "", "a/b")->at(0).path, "m-q4_k_m.gguf");
  EXPECT_EQ(choose_hub_files(model, "Q4_K", "a/b")->at(0).path, "m-Q4_K.gguf");
  EXPECT_EQ(choose_hub_files(model, "q8_0", "a/b")->at(0).path, "m-Q8_0.gguf");
  const auto none = choose_hub_files(model, "Q2_K", "a/b");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(none.error().hint.find("m-Q8_0.gguf"), std::string::npos);
}

TEST(ChooseHubFiles, TakesAllShards) {
  const HubModel model = hub_with({"Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf", "m-F16.gguf"});
  EXPECT_EQ(choose_hub_files(model, "Q8_0", "a/b")->size(), 2u);
}

TEST(ChooseHubFiles, NeverTakesCodeOrPickles) {
  const HubModel model = hub_with({"config.json", "model.safetensors", "modeling_x.py", "pytorch_model.bin",
                                   "tokenizer.json", "onnx/model.onnx", "consolidated.safetensors"});
  std::set<std::string> paths;
  const auto files = choose_hub_files(model, "", "a/b");
  ASSERT_TRUE(files);
  for (const HubFile& file : *files) paths.insert(file.path);
  EXPECT_EQ(paths, (std::set<std::string>{"config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_EQ(choose_hub_files(hub_with({"pytorch_model.bin"}), "", "a/b").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(choose_hub_files(model, "Q8_0", "a/b").error().code, ErrorCode::kInvalidArgument);
}

TEST(Url, IsShownWithoutSecrets) {
  EXPECT_EQ(public_url("https://user:pass@host/a?token=1#x"), "https://host/a");
  EXPECT_EQ(url_origin("HTTPS://Host:443/a"), "https://host");
  EXPECT_EQ(url_origin("http://127.0.0.1:8080/x"), "http://127.0.0.1:8080");
  EXPECT_EQ(url_origin("file:///etc/passwd"), "");
  EXPECT_EQ(url_origin("https://good@evil/"), "https://evil");
  EXPECT_EQ(url_path_escape("a b/\xc3\xa9?"), "a%20b/%C3%A9%3F");
}

}  // namespace
}  // namespace kinglet
