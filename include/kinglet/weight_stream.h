// Layers of a model that is larger than the memory it may use: read from a file into a ring of buffers when a pass
// comes to them (LLMCad, Xu et al. 2023, section 4; there the loading of a target's weights).
#pragma once

#include <cstdint>

#include "kinglet/result.h"

namespace kinglet {

/// Owned by its model. A pass goes through the layers in order; every thread of a pass calls acquire() before it uses a
/// layer's weights, and release() after.
class WeightStream {
 public:
  virtual ~WeightStream() = default;
  /// Returns when the weights of `layer` are in memory (at once for a layer that stays there), or cannot be read.
  virtual void acquire(int layer) = 0;
  /// When all threads that acquired `layer` have released it, its weights may go. Those of the layers after it are read
  /// meanwhile, after the last those of the first.
  virtual void release(int layer) = 0;
  /// The first error of reading; what was computed since is worth nothing.
  virtual Result<void> status() const = 0;

  /// Whether layers are read before a pass asks for them (at the start: yes). Changes the time only.
  virtual void read_ahead(bool ahead) = 0;
  virtual int streamed_layers() const = 0;
  virtual std::uint64_t memory_bytes()
      const = 0;                                 ///< of packed matrices that are in memory: resident ones and the ring
  virtual std::uint64_t bytes_read() const = 0;  ///< from the file so far
};

}  // namespace kinglet
