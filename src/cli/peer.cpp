#include "cli/peer.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/environment.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/process.h"
#include "base/try.h"

namespace kinglet {
namespace {

std::string program_folder() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return ".";
  const std::string_view text(path, static_cast<std::size_t>(size));
  return std::string(text.substr(0, text.rfind('/')));
}

std::string locate(std::string_view where) {
  if (where != "llama.cpp") return expand_home(where);
  for (const std::string& folder :
       {program_folder() + "/../peers/llama.cpp/bin", std::string("build/peers/llama.cpp/bin")})
    if (file_exists(folder + "/llama-bench")) return folder;
  const std::string path = environment("PATH");
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string folder = path.substr(at, end - at);
    if (file_exists(folder + "/llama-bench")) return folder;
    at = end + 1;
  }
  return {};
}

std::string_view cache_name(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return "f32";
    case CacheType::kBf16:
      return "bf16";
    case CacheType::kInt8:
      return "q8_0";
    case CacheType::kInt4:
      return "q4_0";
    case CacheType::kF16:
      break;
  }
  return "f16";
}

std::string absolute(const std::string& path) {
  std::error_code failed;
  const auto whole = std::filesystem::absolute(path, failed);
  return failed ? path : whole.string();
}

double number_at(std::string_view text) {
  double value = 0;
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

double parse_bench_output(std::string_view output) {
  const std::string_view key = "\"avg_ts\":";
  const std::size_t at = output.rfind(key);
  return at == std::string_view::npos ? 0 : number_at(output.substr(at + key.size()));
}

double parse_batched_bench_output(std::string_view output) {
  // |    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
  double value = 0;
  for (std::size_t at = 0; at < output.size();) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    std::string_view line = output.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with('|') || number_at(line.substr(1)) <= 0) continue;
    for (int bar = 0; bar < 7 && !line.empty(); ++bar) line.remove_prefix(std::min(line.find('|', 1), line.size()));
    if (line.size() > 1) value = number_at(line.substr(1));  // after the eighth bar
  }
  return value;
}

Result<Peer> Peer::find(std::string_view where, std::string_view further) {
  Peer peer;
  peer.folder_ = locate(where);
  if (peer.folder_.empty() || !file_exists(peer.folder_ + "/llama-bench"))
    return fail(ErrorCode::kNotFound,
                "there is no llama-bench in '" + (peer.folder_.empty() ? std::string(where) : peer.folder_) + "'",
                "tools/build_llama_cpp builds llama.cpp; or name the folder that holds its programs.");
  peer.folder_ = absolute(peer.folder_);
  for (std::size_t at = 0; at < further.size();) {
    const std::size_t end = std::min(further.find(' ', at), further.size());
    if (end > at) peer.further_.emplace_back(further.substr(at, end - at));
    at = end + 1;
  }
  KINGLET_TRY(const ProcessResult help, run_process({peer.folder_ + "/llama-bench", "--help"}));
  peer.has_depth_ = help.output.find("--n-depth") != std::string::npos;
  return peer;
}

Result<double> Peer::run(const SpeedTest& test, const Setting& setting) const {
  // Some forks leave a log where they run, so they run in /tmp.
  const bool batch = test.kind == SpeedTest::Kind::kBatch;
  const std::string cache(cache_name(setting.cache));
  std::vector<std::string> words = {folder_ + (batch ? "/llama-batched-bench" : "/llama-bench"),
                                    "-m",
                                    absolute(setting.model),
                                    "-t",
                                    std::to_string(setting.threads),
                                    "-ctk",
                                    cache,
                                    "-ctv",
                                    cache};
  const auto add = [&](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
  switch (test.kind) {
    case SpeedTest::Kind::kDecode:
      add({"-p", "0", "-n", std::to_string(kBenchDecodeTokens)});
      break;
    case SpeedTest::Kind::kPrefill:
      add({"-p", std::to_string(test.size), "-n", "0"});
      break;
    case SpeedTest::Kind::kDepth:
      if (has_depth_)
        add({"-p", "0", "-n", std::to_string(kBenchDepthTokens), "-d", std::to_string(test.size), "-fa", "1"});
      else
        add({"-p", "0", "-n", "0", "-gp", std::to_string(test.size) + "," + std::to_string(kBenchDepthTokens), "-fa",
             "1"});
      break;
    case SpeedTest::Kind::kBatch:
      add({"-c", std::to_string(test.size * (kBenchPrompt + kBenchBatchTokens) + 256), "-npp",
           std::to_string(kBenchPrompt), "-ntg", std::to_string(kBenchBatchTokens), "-npl", std::to_string(test.size)});
      break;
  }
  if (!batch) add({"-r", "1", "-o", "json"});
  words.insert(words.end(), further_.begin(), further_.end());
  KINGLET_TRY(const ProcessResult result,
              run_process(words, {.folder = "/tmp", .tick = [] { return !interrupted(); }}));
  const double speed = batch ? parse_batched_bench_output(result.output) : parse_bench_output(result.output);
  if (result.status != 0 || speed <= 0) {
    const std::size_t kept = std::min<std::size_t>(result.output.size(), 800);
    return fail(ErrorCode::kIo, words[0] + " ended with status " + std::to_string(result.status) +
                                    " and no figure: " + result.output.substr(result.output.size() - kept));
  }
  return speed;
}

}  // namespace kinglet
