// Additive codebooks (AQLM, arXiv 2401.06118; model/additive_format.h). Before a product the entries of a tile's 16
// rows are looked up and added to int8 weights, in the layout of the kernels for such, which then multiply them with
// all rows of activations: their arithmetic, their speed for many rows.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "kinglet/factors.h"
#include "kinglet/linear.h"
#include "model/additive_format.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

typedef std::int8_t Entry __attribute__((vector_size(kAdditiveGroup)));

struct Factors {
  TensorData codes;           ///< [outputs, books * groups]
  std::vector<Entry> books;   ///< [books * 256]
  std::vector<float> scales;  ///< [outputs]
  int count = 0;              ///< of codebooks
  std::int64_t groups = 0;
  std::size_t row_bytes() const { return std::size_t(groups * count); }
};

class AdditiveLinear final : public Linear {
 public:
  AdditiveLinear(PackPlan plan, Factors factors) : plan_(plan), factors_(std::move(factors)) {}

  std::int64_t outputs() const override { return plan_.outputs; }
  std::int64_t inputs() const override { return plan_.inputs; }
  InputFormat input_format() const override { return InputFormat::kInt8; }
  std::uint64_t bytes() const override {
    return packed_bytes({0, tiles()}) + factors_.books.size() * sizeof(Entry) + factors_.scales.size() * sizeof(float);
  }

  void multiply(int, const LinearInput& x, TileRange range, float* y, std::size_t stride) const override {
    constexpr std::size_t kAlignment = 64;
    // Kept by the thread: a call allocates nothing once the widest matrix was multiplied.
    thread_local std::vector<std::byte> room;
    if (room.size() < plan_.tile_bytes + kAlignment) room.resize(plan_.tile_bytes + kAlignment);
    void* aligned = room.data();
    std::size_t size = room.size();
    auto* const buffer = static_cast<std::byte*>(std::align(kAlignment, plan_.tile_bytes, aligned, size));
    for (const Share& share : shares_) {
      const std::int64_t end = std::min(range.end, share.tiles.end);
      for (std::int64_t tile = std::max(range.begin, share.tiles.begin); tile < end; ++tile) {
        unpack(share.data + std::size_t(tile - share.tiles.begin) * code_bytes(), tile, buffer);
        const std::int64_t valid = std::min<std::int64_t>(kTileRows, plan_.outputs - tile * kTileRows);
        multiply_tiles(plan_, buffer, 1, int(valid), x, y + tile * kTileRows, stride);
      }
    }
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    std::vector<std::uint8_t> codes(factors_.row_bytes());
    for (const std::int32_t id : ids) {
      row_codes(id, codes.data());
      for (std::int64_t g = 0; g < factors_.groups; ++g) {
        const Entry sum = entry_sum(codes.data() + g * factors_.count, 1);
        for (int k = 0; k < kAdditiveGroup; ++k) *out++ = factors_.scales[std::size_t(id)] * float(sum[k]);
      }
    }
  }

  std::size_t packed_bytes(TileRange range) const override { return std::size_t(range.count()) * code_bytes(); }

  /// A tile's codes: for each group and codebook those of the 16 rows; 0 past the last row.
  void pack(TileRange range, std::byte* to) const override {
    const std::size_t width = factors_.row_bytes();
    std::memset(to, 0, packed_bytes(range));
    for (std::int64_t tile = range.begin; tile < range.end; ++tile, to += code_bytes()) {
      const std::int64_t rows = std::min<std::int64_t>(kTileRows, plan_.outputs - tile * kTileRows);
      for (std::int64_t lane = 0; lane < rows; ++lane) {
        const std::byte* from = factors_.codes.bytes.data() + std::size_t(tile * kTileRows + lane) * width;
        for (std::size_t i = 0; i < width; ++i) to[i * kTileRows + std::size_t(lane)] = from[i];
      }
    }
  }
  void adopt(std::span<const Share> shares) override {
    shares_.assign(shares.begin(), shares.end());
    factors_.codes = {};
  }

 private:
  std::size_t code_bytes() const { return factors_.row_bytes() * kTileRows; }

  /// Of codes that are `apart` bytes from each other.
  Entry entry_sum(const std::uint8_t* codes, std::size_t apart) const {
    Entry sum = factors_.books[codes[0]];
    for (int m = 1; m < factors_.count; ++m)
      sum += factors_.books[std::size_t(m * kAdditiveEntries + codes[std::size_t(m) * apart])];
    return sum;
  }

  void row_codes(std::int64_t row, std::uint8_t* codes) const {
    const std::size_t width = factors_.row_bytes();
    if (shares_.empty()) {
      std::memcpy(codes, factors_.codes.bytes.data() + std::size_t(row) * width, width);
      return;
    }
    const std::int64_t tile = row / kTileRows;
    const auto share =
        std::find_if(shares_.begin(), shares_.end(), [&](const Share& each) { return tile < each.tiles.end; });
    const std::byte* from = share->data + std::size_t(tile - share->tiles.begin) * code_bytes() + row % kTileRows;
    for (std::size_t i = 0; i < width; ++i) codes[i] = std::to_integer<std::uint8_t>(from[i * kTileRows]);
  }

  /// The tile in the layout of plan_bytes (tensor/kernels/matmul.h).
  void unpack(const std::byte* packed, std::int64_t tile, std::byte* to) const {
    constexpr int kLine = 4 * kTileRows, kGroups = kBlockInputs / kAdditiveGroup;
    constexpr Entry kBias = {-128, -128, -128, -128, -128, -128, -128, -128};
    float scales[kTileRows] = {};
    const std::int64_t rows = std::min<std::int64_t>(kTileRows, plan_.outputs - tile * kTileRows);
    std::copy_n(factors_.scales.data() + tile * kTileRows, rows, scales);
    const auto* codes = reinterpret_cast<const std::uint8_t*>(packed);
    for (std::int64_t input = 0; input < plan_.inputs; input += kBlockInputs) {
      for (int g = 0; g < kGroups; ++g, codes += factors_.count * kTileRows, to += 2 * kLine) {
        for (int lane = 0; lane < kTileRows; ++lane) {
          const Entry sum = entry_sum(codes + lane, kTileRows) ^ kBias;
          std::uint32_t halves[2];
          std::memcpy(halves, &sum, sizeof halves);
          std::memcpy(to + 4 * lane, &halves[0], 4);
          std::memcpy(to + kLine + 4 * lane, &halves[1], 4);
        }
      }
      std::memcpy(to, scales, sizeof scales);
      to += sizeof scales;
    }
  }

  PackPlan plan_;
  Factors factors_;
  std::vector<Share> shares_;
};

tl::unexpected<Error> corrupt(const FactoredMatrix& matrix, const std::string& what) {
  return fail(ErrorCode::kCorrupt, "the additive codebooks of " + matrix.name + " " + what,
              "The file is damaged: fetch it again, or make it again from its source.");
}

Result<void> check(const FactoredMatrix& matrix, std::span<const TensorInfo* const> factors) {
  if (factors.size() != 3) return corrupt(matrix, "are " + std::to_string(factors.size()) + " tensors, expected 3");
  const std::string_view types[] = {"I8", "I8", "F32"};
  const std::size_t dimensions[] = {2, 2, 1};
  for (std::size_t i = 0; i < 3; ++i)
    if (factors[i]->type->name != types[i] || factors[i]->shape.size() != dimensions[i])
      return corrupt(matrix, "have a tensor of another type or shape: " + factors[i]->name);
  const std::int64_t books = factors[1]->rows() / kAdditiveEntries;
  if (factors[1]->columns() != kAdditiveGroup || factors[1]->rows() % kAdditiveEntries != 0 || books < 1 ||
      books > kAdditiveMostBooks)
    return corrupt(matrix, "are not 1 to 4 of 256 entries of 8");
  if (matrix.inputs % kBlockInputs != 0 || factors[0]->columns() != books * (matrix.inputs / kAdditiveGroup) ||
      factors[0]->rows() != matrix.outputs || factors[2]->columns() != matrix.outputs)
    return corrupt(matrix, "do not fit its shape");
  return {};
}

/// Every sum has to be an int8.
bool sums_fit(std::span<const Entry> books) {
  int total = 0;
  for (std::size_t first = 0; first < books.size(); first += kAdditiveEntries) {
    int largest = 0;
    for (std::size_t i = first; i < first + kAdditiveEntries; ++i)
      for (int k = 0; k < kAdditiveGroup; ++k) largest = std::max(largest, std::abs(int(books[i][k])));
    total += largest;
  }
  return total <= kAdditiveLargest;
}

Result<std::unique_ptr<Linear>> make_factored(const Checkpoint& checkpoint, const FactoredMatrix& matrix,
                                              std::span<const TensorInfo* const> tensors) {
  KINGLET_CHECK(check(matrix, tensors));
  Factors factors;
  factors.groups = matrix.inputs / kAdditiveGroup;
  factors.count = int(tensors[1]->rows() / kAdditiveEntries);
  KINGLET_TRY(factors.codes, checkpoint.data(*tensors[0]));
  KINGLET_TRY(const TensorData books, checkpoint.data(*tensors[1]));
  KINGLET_TRY(const TensorData scales, checkpoint.data(*tensors[2]));
  factors.books.resize(books.bytes.size() / sizeof(Entry));
  std::memcpy(factors.books.data(), books.bytes.data(), factors.books.size() * sizeof(Entry));
  factors.scales.resize(std::size_t(matrix.outputs));
  std::memcpy(factors.scales.data(), scales.bytes.data(), factors.scales.size() * sizeof(float));
  if (!sums_fit(factors.books)) return corrupt(matrix, "have entries whose sum may not fit 8 bits");
  return std::make_unique<AdditiveLinear>(plan_bytes(matrix.outputs, matrix.inputs), std::move(factors));
}

}  // namespace

extern const LinearDescriptor linear_additive = {
    .name = "additive",
    .paper = "069",
    .help = "sums of entries of learned codebooks, eight inputs a code",
    .codec = kAdditiveCodec,
    .make_factored = make_factored,
};

}  // namespace kinglet
