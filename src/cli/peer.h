// The other engine of `bench --against`: llama.cpp, or a fork with its tools, run as programs on the same file.
#pragma once

#include <string>
#include <string_view>

#include "kinglet/engine.h"
#include "kinglet/measure.h"

namespace kinglet {

class Peer {
 public:
  /// `where` is a folder with llama-bench and llama-batched-bench, or "llama.cpp": what tools/build_llama_cpp built, or
  /// else the programs in PATH. `further` are words that both programs also get ("-rtr 1").
  static Result<Peer> find(std::string_view where, std::string_view further = {});

  struct Setting {
    std::string model;  ///< a GGUF file
    int threads = 1;
    CacheType cache = CacheType::kF16;
  };
  /// Tokens a second in the same test. kIo with the end of the program's output where it fails.
  Result<double> run(const SpeedTest& test, const Setting& setting) const;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<std::string> further_;
  bool has_depth_ = false;  ///< llama-bench -d; older forks have -gp
};

/// "avg_ts" of llama-bench's JSON, and the S_TG column of llama-batched-bench's last row; 0: not found.
double parse_bench_output(std::string_view output);
double parse_batched_bench_output(std::string_view output);

}  // namespace kinglet
