// Matrices of 16-bit floats that lie entropy-coded in the file (DFloat11, arXiv 2504.11651;
// tensor/codec/float_codec.h). They are decoded while they are packed, or, where Checkpoint::keeps_coded(), stay in the
// mapped file: then a product decodes, a few tiles at a time, the blocks that cover its rows, and multiplies them by
// the kernels of the plain type.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/try.h"
#include "model/format/native_types.h"
#include "model/packed_linear.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

/// Of the tiles that are multiplied at once; both the numbers and their tiles take so much, or one tile where that is
/// more.
constexpr std::size_t kRunBytes = 128 << 10;
/// Of numbers that cannot be decoded. Every block was when the model was loaded: the file was changed since, and the
/// answer must not look like one.
constexpr std::uint16_t kNaN = 0x7FFF;

/// What a thread decodes into, kept by it: a call allocates nothing once the widest matrix was multiplied.
class Scratch {
 public:
  /// `size` bytes on a cache line.
  std::byte* tiles(std::size_t size) {
    constexpr std::size_t kLine = 64;
    if (tiles_.size() < size + kLine) tiles_.resize(size + kLine);
    void* aligned = tiles_.data();
    std::size_t room = tiles_.size();
    return static_cast<std::byte*>(std::align(kLine, size, aligned, room));
  }

  void begin() { first_ = decoded_ = 0; }
  /// The numbers [begin, end) of the matrix. From one begin() on, calls ascend: what the last one decoded and this one
  /// needs is not decoded again.
  const std::uint16_t* numbers(const FloatCode& code, std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t block = begin / kFloatBlock * kFloatBlock;
    if (block >= decoded_) {
      first_ = decoded_ = block;
    } else if (block > first_) {
      std::copy(numbers_.begin() + offset(block), numbers_.begin() + offset(decoded_), numbers_.begin());
      first_ = block;
    }
    const std::size_t room = (end - first_ + kFloatBlock - 1) / kFloatBlock * kFloatBlock;
    if (numbers_.size() < room) numbers_.resize(room);
    if (decoded_ < end) {
      std::uint16_t* const to = numbers_.data() + offset(decoded_);
      const std::uint64_t blocks = (end - decoded_ + kFloatBlock - 1) / kFloatBlock;
      const auto first = static_cast<std::uint32_t>(decoded_ / kFloatBlock);
      if (!code.decode_blocks(first, static_cast<std::uint32_t>(blocks), to))
        std::fill_n(to, blocks * kFloatBlock, kNaN);
      decoded_ += blocks * kFloatBlock;
    }
    return numbers_.data() + offset(begin);
  }

 private:
  std::ptrdiff_t offset(std::uint64_t number) const { return static_cast<std::ptrdiff_t>(number - first_); }

  std::vector<std::byte> tiles_;
  std::vector<std::uint16_t> numbers_;
  std::uint64_t first_ = 0, decoded_ = 0;  ///< what numbers_ holds; both whole blocks
};

Scratch& scratch() {
  thread_local Scratch own;
  return own;
}

/// A matrix's numbers as the file has them.
class CodedRows {
 public:
  CodedRows(const PackPlan& plan, TensorData stored, FloatCode code)
      : type_(plan.type),
        inputs_(static_cast<std::uint64_t>(plan.inputs)),
        stored_(std::move(stored)),
        code_(std::move(code)) {}

  std::uint64_t bytes() const { return stored_.bytes.size(); }

  /// Calls use(run, part, numbers) for runs of a few tiles after each other: `part` is the plan of these tiles alone,
  /// and `numbers` their rows, valid until the next.
  template <typename Use>
  void for_runs(const PackPlan& plan, TileRange range, Use&& use) const {
    const auto step = static_cast<std::int64_t>(std::max<std::size_t>(1, kRunBytes / plan.tile_bytes));
    Scratch& own = scratch();
    own.begin();
    for (std::int64_t tile = range.begin; tile < range.end; tile += step) {
      const TileRange run{tile, std::min(tile + step, range.end)};
      const std::int64_t first = tile * kTileRows, rows = std::min(run.count() * kTileRows, plan.outputs - first);
      PackPlan part = plan;
      part.outputs = rows;
      use(run, part, own.numbers(code_, inputs_ * std::uint64_t(first), inputs_ * std::uint64_t(first + rows)));
    }
  }

  void row(std::int64_t row, float* out) const {
    Scratch& own = scratch();
    own.begin();
    const std::uint64_t begin = inputs_ * static_cast<std::uint64_t>(row);
    const std::uint16_t* numbers = own.numbers(code_, begin, begin + inputs_);
    type_->decode(reinterpret_cast<const std::byte*>(numbers), inputs_, out);
  }

 private:
  const BlockType* type_;
  std::uint64_t inputs_;
  TensorData stored_;
  FloatCode code_;
};

std::byte* pack_run(const PackPlan& part, TileRange run, const std::uint16_t* numbers, std::byte* to) {
  pack_tiles(part, reinterpret_cast<const std::byte*>(numbers), 0, run.count(), to);
  return to + static_cast<std::size_t>(run.count()) * part.tile_bytes;
}

/// Decoded while it is packed.
class DecodedLinear final : public PackedLinear {
 public:
  DecodedLinear(PackPlan plan, CodedRows source) : PackedLinear(plan), source_(std::move(source)) {}

  void pack(TileRange range, std::byte* to) const override {
    source_->for_runs(plan(), range, [&](TileRange run, const PackPlan& part, const std::uint16_t* numbers) {
      to = pack_run(part, run, numbers, to);
    });
  }

 private:
  void source_row(std::int64_t row, float* out) const override { source_->row(row, out); }
  void drop_source() override { source_.reset(); }

  std::optional<CodedRows> source_;
};

/// Decoded for each product.
class CodedLinear final : public Linear {
 public:
  CodedLinear(PackPlan plan, CodedRows source) : plan_(plan), source_(std::move(source)) {}

  std::int64_t outputs() const override { return plan_.outputs; }
  std::int64_t inputs() const override { return plan_.inputs; }
  InputFormat input_format() const override { return plan_.input; }
  std::uint64_t bytes() const override { return source_.bytes(); }

  void multiply(int, const LinearInput& x, TileRange range, float* y, std::size_t stride) const override {
    source_.for_runs(plan_, range, [&](TileRange run, const PackPlan& part, const std::uint16_t* numbers) {
      std::byte* const tiles = scratch().tiles(static_cast<std::size_t>(run.count()) * plan_.tile_bytes);
      pack_run(part, run, numbers, tiles);
      multiply_tiles(plan_, tiles, static_cast<int>(run.count()), static_cast<int>(part.outputs), x,
                     y + run.begin * kTileRows, stride);
    });
  }

  void gather(std::span<const std::int32_t> ids, float* out) const override {
    for (const std::int32_t id : ids) {
      source_.row(id, out);
      out += plan_.inputs;
    }
  }

  // Nothing is packed: it stays where it is.
  std::size_t packed_bytes(TileRange) const override { return 0; }
  void pack(TileRange, std::byte*) const override {}
  void adopt(std::span<const Share>) override {}

 private:
  PackPlan plan_;
  CodedRows source_;
};

bool accepts(const Checkpoint&, const TensorInfo& tensor) {
  return !tensor.codec.empty() && tensor.shape.size() == 2 &&
         plan_packing(*tensor.type, tensor.rows(), tensor.columns()).has_value();
}

Result<std::unique_ptr<Linear>> make(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  KINGLET_TRY(TensorData stored, checkpoint.stored(tensor));
  auto code = open_stored(tensor, stored.bytes);
  if (!code) {
    Error error = std::move(code).error();
    error.place = checkpoint.path();
    return tl::unexpected(std::move(error));
  }
  const PackPlan plan = *plan_packing(*tensor.type, tensor.rows(), tensor.columns());
  CodedRows rows(plan, std::move(stored), std::move(*code));
  if (checkpoint.keeps_coded()) return std::make_unique<CodedLinear>(plan, std::move(rows));
  return std::make_unique<DecodedLinear>(plan, std::move(rows));
}

}  // namespace

extern const LinearDescriptor linear_coded = {
    .name = "coded",
    .paper = "026",
    .help = "entropy-coded bf16 and f16, decoded when it is loaded or (--keep-coded) block by block for every product",
    .accepts = accepts,
    .make = make,
};

}  // namespace kinglet
