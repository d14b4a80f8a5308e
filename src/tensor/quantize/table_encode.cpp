#include "tensor/quantize/table_encode.h"

#include <algorithm>
#include <cmath>

#include "tensor/quantize/exact.h"
#include "tensor/quantize/prepare.h"

namespace kinglet {
namespace {

constexpr int kMostValues = 256, kMostLevels = 32;

class TableEncoder {
 public:
  TableEncoder(std::span<const std::int8_t> levels, const float* values, const float* weights, int count)
      : levels_(levels), count_(count / 16) {
    for (int i = 0; i < count_; ++i) {
      load_lanes(values + 16 * i, x_[i]);
      load_lanes(weights + 16 * i, w_[i]);
    }
    for (std::size_t k = 0; k + 1 < levels.size(); ++k) {
      middles_[k] = static_cast<float>(levels[k] + levels[k + 1]) / 2;
      rises_[k] = static_cast<float>(levels[k + 1] - levels[k]);
    }
    peak_ = furthest_from_zero(values, count);
  }

  float best_scale() {
    // From a little more than the table's ends down to where most of the block would be cut off.
    const float least = levels_.size() <= 8 ? 0.4f : 0.6f;
    float lowest = INFINITY, scale = 0;
    for (const std::int8_t end : {levels_.front(), levels_.back()}) {
      for (float share = 1.05f; share > least; share -= 0.05f) {
        const float tried = peak_ / (static_cast<float>(end) * share);
        const ScaleSums found = sums(tried);
        if (found.best_error(tried) < lowest) lowest = found.best_error(tried), scale = found.best_step(tried);
      }
    }
    refine(scale);
    const float middle = best_;
    for (const int step : {-1, 1}) offer(neighbour_of_f16(middle, step));
    return best_;
  }

  void write(float scale, std::uint8_t* codes) const {
    for (int i = 0; i < count_; ++i) {
      Lanes level;
      nearest(x_[i] * (1 / scale), level);
      for (int lane = 0; lane < 16; ++lane) {
        const auto at = std::lower_bound(levels_.begin(), levels_.end(), static_cast<int>(level[lane]));
        codes[16 * i + lane] = static_cast<std::uint8_t>(at - levels_.begin());
      }
    }
  }

 private:
  /// By reference: wide vectors are returned differently with and without AVX-512.
  void nearest(const Lanes& value, Lanes& level) const {
    fill_lanes(levels_.front(), level);
    for (std::size_t k = 0; k + 1 < levels_.size(); ++k)
      level += value > Lanes{} + middles_[k] ? Lanes{} + rises_[k] : Lanes{};
  }

  ScaleSums sums(float scale) const {
    const float inverse = 1 / scale;
    Lanes qq{}, qr{}, rr{};
    for (int i = 0; i < count_; ++i) {
      const Lanes t = x_[i] * inverse;
      Lanes q;
      nearest(t, q);
      const Lanes r = t - q, wq = w_[i] * q;
      qq += wq * q;
      qr += wq * r;
      rr += w_[i] * r * r;
    }
    return {sum_lanes(qq), sum_lanes(qr), sum_lanes(rr)};
  }

  /// Keeps the scale if it is the best so far; returns the least-squares one for its codes.
  float offer(float scale) {
    if (scale == 0) return 0;
    const ScaleSums found = sums(scale);
    const float error = found.error(scale);
    if (error < error_ || best_ == 0) {
      error_ = error;
      best_ = scale;
    }
    return found.best_step(scale);
  }

  void refine(float scale) {
    if (scale == 0) scale = peak_ / static_cast<float>(levels_.front());
    for (int i = 0; i < 4; ++i) {
      const float stored = round_to_f16(scale);
      scale = offer(stored);
      if (!std::isfinite(scale) || round_to_f16(scale) == stored) break;
    }
  }

  std::span<const std::int8_t> levels_;
  int count_;
  Lanes x_[kMostValues / 16], w_[kMostValues / 16];
  float middles_[kMostLevels], rises_[kMostLevels];
  float peak_ = 0, best_ = 0, error_ = INFINITY;
};

/// Zeros keep their signs: the scale is 0, and a zero times a level has the level's sign.
void write_zeros(std::span<const std::int8_t> levels, std::span<const float> values, TableBlock& block) {
  block.scale = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    block.codes[i] = static_cast<std::uint8_t>(std::signbit(values[i]) ? 0 : levels.size() - 1);
}

bool write_exactly(std::span<const std::int8_t> levels, std::span<const float> values, TableBlock& block) {
  const int count = static_cast<int>(values.size());
  const Grid grid = make_grid({count, count, 0, static_cast<int>(levels.size()) - 1, levels.data(), 1, 1, 0, 0, {}});
  BlockFields fields;
  if (!find_exact_scales(grid, values.data(), fields)) return false;
  block.scale = fields.scale;
  std::copy_n(fields.codes, count, block.codes);
  return true;
}

}  // namespace

void encode_table_block(std::span<const std::int8_t> levels, std::span<const float> values, const float* weights,
                        TableBlock& block) {
  const int count = static_cast<int>(values.size());
  alignas(64) float tame[kMostValues], tame_weight[kMostValues];
  const float peak = tame_values(values.data(), count, tame);
  if (peak < kNothing) return write_zeros(levels, values, block);
  if (all_finite(values.data(), count) && write_exactly(levels, values, block)) return;
  tame_weights(weights, count, tame_weight);
  TableEncoder encoder(levels, tame, tame_weight, count);
  const float scale = encoder.best_scale();
  block.scale = f32_to_f16(scale);
  encoder.write(scale, block.codes);
}

}  // namespace kinglet
