// The Linear seam: how a weight matrix is stored and multiplied. The engine never asks which one it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/factors.h"
#include "kinglet/result.h"

namespace kinglet {

/// Outputs come in tiles of 16: one tile is one vector of lanes, and the unit in which threads share a matrix.
inline constexpr int kTileRows = 16;

/// What a Linear reads: f32 rows, or rows rounded to int8 with one scale for each 32 inputs (both made once per input,
/// and shared by all Linears that read it).
enum class InputFormat { kFloat32, kInt8 };

/// The input of a multiplication in the formats that were asked for. `rows` rows of `columns` values.
struct LinearInput {
  const float* values = nullptr;  ///< [rows, columns] f32, row stride `value_stride` floats
  std::size_t value_stride = 0;
  const std::byte* quantized =
      nullptr;  ///< [rows] quantized rows (src/tensor/kernels/matmul.h), `quantized_stride` bytes apart
  std::size_t quantized_stride = 0;
  int rows = 0;
};

/// Half-open range of 16-row tiles.
struct TileRange {
  std::int64_t begin = 0, end = 0;
  std::int64_t count() const { return end - begin; }
};

/// A matrix y = W x with W [outputs, inputs]. Immutable once adopt() was called; multiply and gather may be called from
/// several threads on different ranges. gather() also works before (a matrix that is only read by row is never packed).
class Linear {
 public:
  virtual ~Linear() = default;
  virtual std::int64_t outputs() const = 0;
  virtual std::int64_t inputs() const = 0;
  virtual InputFormat input_format() const = 0;
  virtual std::uint64_t bytes() const = 0;  ///< read by one multiplication of all outputs
  std::int64_t tiles() const { return (outputs() + kTileRows - 1) / kTileRows; }

  /// Inner stages with a barrier between (low-rank: 2). Stage s < stages()-1 writes `inner_outputs(s)` values a row,
  /// shared between threads by tiles of 16; stage s > 0 reads them in the format that it names.
  virtual int stages() const { return 1; }
  virtual std::int64_t inner_outputs(int) const { return 0; }
  virtual InputFormat stage_format(int) const { return input_format(); }

  /// The matrices that this one is made of, in the order in which a step reads them; none for most. Parts are packed
  /// and adopt their tiles one by one, and the whole is not asked for anything of its own.
  virtual std::span<const std::unique_ptr<Linear>> parts() const { return {}; }

  /// y[r * stride + o] = sum over inputs, for the outputs o of `tiles` and each row r. No output past outputs() is
  /// written.
  virtual void multiply(int stage, const LinearInput& x, TileRange tiles, float* y, std::size_t stride) const = 0;
  /// Exact values of some rows of W (an embedding is a Linear read by row): out [ids, inputs].
  virtual void gather(std::span<const std::int32_t> ids, float* out) const = 0;

  /// How few rows are multiplied, where the type leaves a choice: for `kinglet bench`. Empty: there is none.
  virtual std::string kernel() const { return {}; }

  /// Packing. Before the model is sealed the Linear holds its source; pack() writes the tiles of a range as one run of
  /// packed_bytes(range) bytes; adopt() is then given the run for each range, in ascending order and covering all
  /// tiles.
  virtual std::size_t packed_bytes(TileRange tiles) const = 0;
  virtual void pack(TileRange tiles, std::byte* to) const = 0;
  struct Share {
    TileRange tiles;
    const std::byte* data;
  };
  virtual void adopt(std::span<const Share> shares) = 0;
};

/// What factors mean to those who round them or put errors into them.
enum class FactorForm : std::uint8_t {
  kOwn,      ///< only the codec knows
  kProduct,  ///< two: 0 [rank, inputs] and 1 [outputs, rank], each a matrix of any type; the second times the first
  kRows,     ///< all of two dimensions are rows of the matrix, [rows, inputs], each factor of any type
};

/// One way to store a matrix: in one tensor, or as factors. Registered by its file in src/model/linear.
struct LinearDescriptor {
  std::string_view name;
  std::string_view paper;  ///< number of the paper's card, "" for the field's standard ways
  std::string_view help;
  bool (*accepts)(const Checkpoint& checkpoint, const TensorInfo& tensor) = nullptr;  ///< null: no tensor alone
  Result<std::unique_ptr<Linear>> (*make)(const Checkpoint& checkpoint, const TensorInfo& tensor) = nullptr;
  std::string_view codec = {};  ///< name in kinglet.factors; "": not of factors
  /// `factors`: all that the checkpoint has, in order. kCorrupt where their number or shapes do not give the matrix.
  Result<std::unique_ptr<Linear>> (*make_factored)(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                                   std::span<const TensorInfo* const> factors) = nullptr;
  FactorForm factor_form = FactorForm::kOwn;
};
std::span<const LinearDescriptor* const> linears();
/// Of what multiplies this matrix; kOwn for a codec that nothing registers.
FactorForm factor_form(const FactoredMatrix& matrix);
Result<std::unique_ptr<Linear>> make_linear(const Checkpoint& checkpoint, const TensorInfo& tensor);
/// The matrix of this name, a tensor or a product of factors. kCorrupt where it is neither, or both.
Result<std::unique_ptr<Linear>> make_linear(const Checkpoint& checkpoint, std::string_view name);
/// What has to be packed: the parts of a matrix, their parts, or the matrix itself.
std::vector<Linear*> packed_parts(Linear& linear);

}  // namespace kinglet
