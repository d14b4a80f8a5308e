// Matrices that are stored as several tensors whose product they are (low-rank, tensor-train): the factors are tensors
// like any other, in any types, named MATRIX.0, MATRIX.1, ..., and the key kinglet.factors lists the matrices. A tensor
// MATRIX itself does not exist then.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

/// An array of strings "CODEC OUTPUTSxINPUTS MATRIX": "low-rank 1536x576 blk.0.ffn_up.weight".
inline constexpr std::string_view kFactorsKey = "kinglet.factors";

/// The codec of a matrix D E: E [rank, inputs] the factor 0, D [outputs, rank] the factor 1.
inline constexpr std::string_view kLowRankCodec = "low-rank";

struct FactoredMatrix {
  std::string codec;  ///< LinearDescriptor::codec of what multiplies it
  std::string name;   ///< of the matrix: "blk.0.ffn_up.weight"
  std::int64_t outputs = 0, inputs = 0;
  std::string factor(int index) const { return name + "." + std::to_string(index); }
};

/// All matrices that the metadata lists; none where the key is absent. kCorrupt where an entry is not of that form or
/// a name stands twice.
Result<std::vector<FactoredMatrix>> factored_matrices(const Metadata& metadata);
/// The one of this name; nothing where it is not listed.
Result<std::optional<FactoredMatrix>> find_factored(const Metadata& metadata, std::string_view name);
/// Replaces the list; an empty one takes the key away.
void set_factored_matrices(Metadata& metadata, std::span<const FactoredMatrix> matrices);

/// The factors that the checkpoint has, in order: as many as have consecutive numbers from 0 on.
std::vector<const TensorInfo*> factors_of(const Checkpoint& checkpoint, const FactoredMatrix& matrix);

/// The matrix that a tensor is a factor of ("blk.0.ffn_up.weight" of "blk.0.ffn_up.weight.1"), by its name alone; ""
/// for other names.
std::string_view matrix_of_factor(std::string_view tensor);

}  // namespace kinglet
