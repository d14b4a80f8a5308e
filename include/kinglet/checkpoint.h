// A model on disk: metadata and named tensors, whatever the format. Names and keys are GGUF's everywhere; a Hugging
// Face directory is translated while it is opened (names, hyperparameters, the order of rotary rows, norms that GGUF
// keeps with 1 added), so that the rest of Kinglet sees one vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/block_type.h"
#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

struct TensorInfo {
  std::string name;  ///< GGUF name: "blk.0.attn_q.weight"
  const BlockType* type = nullptr;
  std::vector<std::int64_t> shape;  ///< outermost first: a matrix is [rows (outputs), columns (inputs)]
  std::uint64_t bytes = 0;          ///< of data()
  std::string codec = {};           ///< how it lies in the file where data() has to decode it ("BF16-H"); "": as it is
  std::uint64_t stored_bytes = 0;   ///< in the file, where there is a codec

  std::uint64_t file_bytes() const { return codec.empty() ? bytes : stored_bytes; }
  std::string_view stored_type() const { return codec.empty() ? type->name : std::string_view(codec); }
  std::int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  std::int64_t rows() const;  ///< product of all but the last
  std::int64_t elements() const { return rows() * columns(); }
};

/// The raw blocks of one tensor. Keeps what it points to alive: a mapping shared with the checkpoint, or own memory.
struct TensorData {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// Read-only; all members may be called from several threads.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const Metadata& metadata() const = 0;
  virtual std::span<const TensorInfo> tensors() const = 0;
  /// The blocks of `type`: mapped, or decoded into memory where the tensor has a codec. kCorrupt where that fails.
  virtual Result<TensorData> data(const TensorInfo& tensor) const = 0;
  /// The bytes of a tensor with a codec as they lie in the file, mapped. kUnsupported where there are none to give.
  virtual Result<TensorData> stored(const TensorInfo& tensor) const;
  virtual std::string_view format() const = 0;  ///< "gguf" or "safetensors"
  virtual std::string_view path() const = 0;
  virtual std::uint64_t file_bytes() const = 0;  ///< of all files together
  /// Drops the pages of the bytes [begin, end) of a tensor that will not be read again soon (a packed copy exists).
  /// Only a hint.
  virtual void release(const TensorInfo&, std::uint64_t /*begin*/, std::uint64_t /*end*/) const {}

  const TensorInfo* find(std::string_view name) const;
  std::string architecture() const;  ///< general.architecture, "" where absent

  /// Whether matrices with a codec are multiplied from stored(), a block at a time, and not from data(). Said before
  /// the matrices are made.
  bool keeps_coded() const { return keeps_coded_; }
  void keep_coded(bool keep) { keeps_coded_ = keep; }

 private:
  bool keeps_coded_ = false;
};

/// Opens a GGUF file (the first of a split set), a .safetensors file with its config beside it, or a Hugging Face
/// directory. Validates the whole directory of tensors before it returns. Errors: kNotFound, kCorrupt, kUnsupported,
/// kIo.
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path);

/// Writes GGUF v3: metadata and plans first, then each tensor's bytes in the order of `plans`. The file appears under
/// its name only when finish() succeeds; destroyed before that, it leaves nothing behind.
class GgufWriter {
 public:
  struct Plan {
    std::string name;
    const BlockType* type;
    std::vector<std::int64_t> shape;
    std::string codec = {};  ///< as TensorInfo::codec: then `stored_bytes` are written, already coded
    std::uint64_t stored_bytes = 0;
  };
  static Result<std::unique_ptr<GgufWriter>> create(const std::string& path, const Metadata& metadata,
                                                    std::vector<Plan> plans);
  virtual ~GgufWriter() = default;
  /// The next tensor's bytes, whole or in consecutive pieces.
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
  virtual Result<void> finish() = 0;
  /// Exact size of the file that these plans give.
  static std::uint64_t predicted_bytes(const Metadata& metadata, const std::vector<Plan>& plans);
};

}  // namespace kinglet
