#include "compress/calibration/moments.h"

#include <algorithm>
#include <atomic>

#include "base/thread_pool.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

constexpr std::int64_t kStrip = 32;

PackPlan plain_plan(std::int64_t outputs, std::int64_t inputs) {
  return *plan_packing(*find_block_type("F32"), outputs, inputs);
}

void transpose(const float* from, std::int64_t rows, std::int64_t columns, WorkShare share, float* to) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t c = share.begin; c < share.end; c += kBlock) {
    const std::int64_t last = std::min(c + kBlock, share.end);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = c; i < last; ++i) to[i * rows + r] = from[r * columns + i];
    }
  }
}

void pack_share(const PackPlan& plan, const float* source, std::vector<float>& tiles, WorkShare share) {
  pack_tiles(plan, reinterpret_cast<const std::byte*>(source), share.begin, share.end,
             reinterpret_cast<std::byte*>(tiles.data()) + static_cast<std::size_t>(share.begin) * plan.tile_bytes);
}

}  // namespace

MomentSum::MomentSum(std::int64_t left, std::int64_t right)
    : left_(left), right_(right), sum_(static_cast<std::size_t>(left) * static_cast<std::size_t>(right)) {}

void MomentSum::add(std::span<const float> x, std::span<const float> y, ThreadPool& pool) {
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / left_;
  if (rows == 0) return;
  const bool symmetric = x.data() == y.data() && left_ == right_;
  const PackPlan plan = plain_plan(right_, rows);
  left_rows_.resize(x.size());
  right_rows_.resize(symmetric ? 0 : y.size());
  tiles_.resize(static_cast<std::size_t>(plan.tiles()) * plan.tile_bytes / sizeof(float));
  std::atomic<std::int64_t> next{0};
  pool.run([&](int thread) {
    transpose(x.data(), rows, left_, work_share(left_, thread, pool.size()), left_rows_.data());
    if (!symmetric) transpose(y.data(), rows, right_, work_share(right_, thread, pool.size()), right_rows_.data());
    pool.barrier();
    pack_share(plan, symmetric ? left_rows_.data() : right_rows_.data(), tiles_,
               work_share(plan.tiles(), thread, pool.size()));
    pool.barrier();
    std::vector<float> part(static_cast<std::size_t>(kStrip * right_));
    const std::int64_t strips = (left_ + kStrip - 1) / kStrip;
    // The longest strips of a triangle first.
    for (std::int64_t i = next++; i < strips; i = next++) add_strip((strips - 1 - i) * kStrip, rows, symmetric, part);
    if (!symmetric) return;
    pool.barrier();
    const WorkShare share = work_share(left_, thread, pool.size());
    for (std::int64_t r = share.begin; r < share.end; ++r) {
      for (std::int64_t c = r + 1; c < left_; ++c)
        sum_[static_cast<std::size_t>(r * left_ + c)] = sum_[static_cast<std::size_t>(c * left_ + r)];
    }
  });
}

std::vector<float> MomentSum::take() {
  left_rows_ = right_rows_ = tiles_ = {};
  return std::move(sum_);
}

void MomentSum::add_strip(std::int64_t first, std::int64_t rows, bool symmetric, std::vector<float>& part) {
  const std::int64_t count = std::min(kStrip, left_ - first);
  const std::int64_t outputs = symmetric ? first + count : right_;
  const LinearInput input{.values = left_rows_.data() + first * rows,
                          .value_stride = static_cast<std::size_t>(rows),
                          .rows = static_cast<int>(count)};
  multiply_tiles(plain_plan(right_, rows), reinterpret_cast<const std::byte*>(tiles_.data()),
                 static_cast<int>((outputs + kTileRows - 1) / kTileRows), static_cast<int>(outputs), input, part.data(),
                 static_cast<std::size_t>(right_));
  for (std::int64_t r = 0; r < count; ++r) {
    float* sum = sum_.data() + (first + r) * right_;
    const float* add = part.data() + r * right_;
    const std::int64_t end = symmetric ? first + r + 1 : outputs;
    for (std::int64_t c = 0; c < end; ++c) sum[c] += add[c];
  }
}

void multiply_plain(std::span<const float> x, std::span<const float> matrix, std::int64_t inputs, std::int64_t outputs,
                    ThreadPool& pool, std::span<float> out) {
  const PackPlan plan = plain_plan(outputs, inputs);
  std::vector<float> tiles(static_cast<std::size_t>(plan.tiles()) * plan.tile_bytes / sizeof(float));
  const LinearInput input{.values = x.data(),
                          .value_stride = static_cast<std::size_t>(inputs),
                          .rows = static_cast<int>(static_cast<std::int64_t>(x.size()) / inputs)};
  pool.run([&](int thread) {
    const WorkShare share = work_share(plan.tiles(), thread, pool.size());
    if (share.begin == share.end) return;
    pack_share(plan, matrix.data(), tiles, share);
    const std::int64_t end = std::min(share.end * kTileRows, outputs);
    multiply_tiles(
        plan,
        reinterpret_cast<const std::byte*>(tiles.data()) + static_cast<std::size_t>(share.begin) * plan.tile_bytes,
        static_cast<int>(share.end - share.begin), static_cast<int>(end - share.begin * kTileRows), input,
        out.data() + share.begin * kTileRows, static_cast<std::size_t>(outputs));
  });
}

}  // namespace kinglet
