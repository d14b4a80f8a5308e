// Runs other programs: by their arguments, never through a shell.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

struct ProcessOptions {
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< added to ours, replacing equal names
  std::string folder = {};                                            ///< to run in; "": ours
  /// Called every 0.1 s while the program runs; false stops it (SIGTERM, then SIGKILL after 2 s): kCancelled.
  std::function<bool()> tick = {};
};

struct ProcessResult {
  int status = 0;      ///< exit status, or 128 + the signal that ended it
  std::string output;  ///< the last 64 KiB of standard output and standard error together
};

/// Runs `arguments[0]` (looked up in PATH) with standard input empty and waits. The program ends when ours dies.
/// kNotFound where there is no such program; its own failure is a status, not an error.
Result<ProcessResult> run_process(const std::vector<std::string>& arguments, const ProcessOptions& options = {});

}  // namespace kinglet
