// A tensor's values on their way into another type, in pieces.
#pragma once

#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

struct TensorStream {
  const TensorInfo* info = nullptr;
  std::span<const std::byte> bytes;  ///< in info->type
  const BlockType* to = nullptr;
  float add = 0;  ///< added to every value on the way
};

struct StreamResult {
  bool lossless = true;         ///< every value survived
  std::uint64_t overflows = 0;  ///< finite values that became infinite
};

/// Calls `sink` with consecutive pieces in the type `to`. Memory: a few MiB a thread. kCorrupt where a value that is
/// rounded is not finite; what `sink` and `step` (called between pieces) answer otherwise.
Result<StreamResult> stream_tensor(const TensorStream& tensor, ThreadPool& pool,
                                   const std::function<Result<void>(std::span<const std::byte>)>& sink,
                                   const std::function<Result<void>()>& step);

}  // namespace kinglet
