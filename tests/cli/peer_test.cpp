#include "cli/peer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "temporary_folder.h"

namespace kinglet {
namespace {

TEST(Peer, ReadsLlamaBenchJson) {
  EXPECT_DOUBLE_EQ(
      parse_bench_output(
          "noise\n[\n  {\n    \"avg_ns\": 12,\n    \"avg_ts\": 118.250000,\n    \"stddev_ts\": 0.0\n  }\n]\n"),
      118.25);
  EXPECT_EQ(parse_bench_output("error: no such model"), 0);
}

TEST(Peer, ReadsTheLastRowOfBatchedBench) {
  const char* output =
      "main: n_kv_max = 640\n\n"
      "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |\n"
      "|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|\n"
      "|    16 |     32 |    8 |    384 |    0.500 |   256.00 |    1.000 |   247.50 |    1.500 |   256.00 |\n\n"
      "llama_perf: total\n";
  EXPECT_DOUBLE_EQ(parse_batched_bench_output(output), 247.5);
  EXPECT_EQ(parse_batched_bench_output("| PP | TG |\n"), 0);
}

class FakePeer : public ::testing::Test {
 protected:
  void script(const std::string& name, const std::string& body) {
    const std::string path = folder_.path() + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << body;
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  }
  test::TemporaryFolder folder_;
};

TEST_F(FakePeer, IsAskedForTheSameLengths) {
  script("llama-bench",
         "case \"$*\" in *--help*) echo '  -d, --n-depth <n>';; *'-d 4096'*) echo '\"avg_ts\": 46';;"
         " *'-p 512 -n 0'*) echo '\"avg_ts\": 310';; *'-t 2 '*'-p 0 -n 128'*) echo '\"avg_ts\": 120';; esac\n");
  script("llama-batched-bench",
         "case \"$*\" in *'-npp 16 -ntg 32 -npl 8'*) echo '| 16 | 32 | 8 | 384 | 1 | 2 | 3 | 247 | 1 | 1 |';; esac\n");
  const auto peer = Peer::find(folder_.path());
  ASSERT_TRUE(peer) << peer.error().message;
  const Peer::Setting setting{.model = "m.gguf", .threads = 2};
  EXPECT_EQ(peer->run(*parse_speed_test("decode"), setting).value(), 120);
  EXPECT_EQ(peer->run(*parse_speed_test("prefill"), setting).value(), 310);
  EXPECT_EQ(peer->run(*parse_speed_test("depth4096"), setting).value(), 46);
  EXPECT_EQ(peer->run(*parse_speed_test("batch8"), setting).value(), 247);
}

TEST_F(FakePeer, ItsFailureIsAnErrorWithItsWords) {
  script("llama-bench", "echo 'cannot load model'; exit 1\n");
  const auto peer = Peer::find(folder_.path());
  ASSERT_TRUE(peer);
  const auto speed = peer->run(*parse_speed_test("decode"), {.model = "m.gguf"});
  ASSERT_FALSE(speed);
  EXPECT_NE(speed.error().message.find("cannot load model"), std::string::npos);
}

TEST(Peer, WhereThereIsNoneSaysHowToGetIt) {
  const auto peer = Peer::find("/nonexistent");
  ASSERT_FALSE(peer);
  EXPECT_EQ(peer.error().code, ErrorCode::kNotFound);
  EXPECT_NE(peer.error().hint.find("build_llama_cpp"), std::string::npos);
}

}  // namespace
}  // namespace kinglet
