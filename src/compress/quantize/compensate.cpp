#include "compress/quantize/compensate.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/quantize/compensate_trellis.h"
#include "compress/quantize/rounding_kernels.h"
#include "tensor/half.h"

namespace kinglet {
namespace {

constexpr int kLanes = kRoundingLanes;

/// Which integers a type's group scales may be: as far as its encoder went on this matrix.
struct MultipleRange {
  int low = 0, high = 0, minimum_low = 0, minimum_high = 0;
};

struct Job {
  const BlockType& type;
  std::span<const float> targets;
  std::int64_t rows, inputs;
  const float* moment;
  const MomentFactor& factor;
  const CompensateOptions& options;
  std::byte* out;
  MultipleRange range;
  LevelSet levels;
};

float to_f16(float x) {
  const float clamped = std::clamp(x, -65504.0f, 65504.0f);
  const float rounded = f16_to_f32(f32_to_f16(clamped));
  return rounded == 0 && x != 0 ? std::copysign(0x1p-24f, x) : rounded;
}

/// 16 rows on their way.
class Strip {
 public:
  Strip(const Job& job) : job_(job), kernels_(rounding_kernels()) {
    const auto inputs = static_cast<std::size_t>(job.inputs);
    targets_.resize(inputs * kLanes);
    errors_.resize(inputs * kLanes);
    levels_.resize(inputs * kLanes);
    groups_.resize(inputs / static_cast<std::size_t>(job.type.form.group));
    multiples_.resize(groups_.size() * kLanes);
    minimum_multiples_.resize(groups_.size() * kLanes);
    const std::size_t blocks = inputs / static_cast<std::size_t>(job.type.block_values);
    units_.resize(blocks * kLanes);
    minimum_units_.resize(blocks * kLanes);
    gradients_.resize(static_cast<std::size_t>(job.type.form.group) * kLanes);
  }

  void run(std::int64_t first_row, CompensateReport& report);

 private:
  void choose_scales(std::int64_t block, const float* wanted);
  void round_in_order();
  void round_plainly();
  void sweep();
  void refit(std::size_t group);
  void refit_lane(std::size_t group, int lane, const float* sums, LaneGroup& next);
  double error() const;
  void write(std::int64_t first_row, CompensateReport& report);

  const Job& job_;
  const RoundingKernels& kernels_;
  int rows_ = 0;  ///< of the lanes that are rows
  std::vector<float> targets_, errors_, levels_, gradients_;
  std::vector<LaneGroup> groups_;
  std::vector<std::int8_t> multiples_, minimum_multiples_;
  std::vector<float> units_, minimum_units_;
};

void Strip::run(std::int64_t first_row, CompensateReport& report) {
  rows_ = static_cast<int>(std::min<std::int64_t>(kLanes, job_.rows - first_row));
  for (std::int64_t k = 0; k < job_.inputs; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::int64_t row = first_row + std::min(lane, rows_ - 1);
      targets_[static_cast<std::size_t>(k * kLanes + lane)] =
          job_.targets[static_cast<std::size_t>(row * job_.inputs + k)];
    }
  }
  if (job_.options.feed_back) {
    round_in_order();
  } else {
    round_plainly();
  }
  if (job_.options.report_errors) report.first_error += error();
  for (int i = 0; i < job_.options.sweeps; ++i) sweep();
  if (job_.options.report_errors) report.error += error();
  write(first_row, report);
}

/// The type's own encoder picks the scales of one block, by the errors' true cost where later inputs make up for them.
void Strip::choose_scales(std::int64_t block, const float* wanted) {
  const BlockType& type = job_.type;
  const auto values = static_cast<std::size_t>(type.block_values);
  const auto groups = values / static_cast<std::size_t>(type.form.group);
  const std::size_t first = static_cast<std::size_t>(block) * groups;
  float row[256];
  std::byte data[1024];
  std::int8_t codes[256], multiples[16], minimum_multiples[16];
  float scales[16], minimums[16] = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    for (std::size_t k = 0; k < values; ++k) row[k] = wanted[k * kLanes + static_cast<std::size_t>(lane)];
    type.encode(row, 1, job_.factor.pivots.data() + static_cast<std::size_t>(block) * values, data);
    type.codes(data, 1, codes, scales, type.form.has_minimum ? minimums : nullptr);
    for (std::size_t g = 0; g < groups; ++g) {
      groups_[first + g].scale[lane] = scales[g];
      groups_[first + g].minimum[lane] = minimums[g];
    }
    if (type.form.scales != ScaleForm::kMultiples) continue;
    const std::size_t at = static_cast<std::size_t>(block) * kLanes + static_cast<std::size_t>(lane);
    type.multiples(data, 1, &units_[at], &minimum_units_[at], multiples, minimum_multiples);
    for (std::size_t g = 0; g < groups; ++g) {
      multiples_[(first + g) * kLanes + static_cast<std::size_t>(lane)] = multiples[g];
      minimum_multiples_[(first + g) * kLanes + static_cast<std::size_t>(lane)] = minimum_multiples[g];
    }
  }
}

void Strip::round_in_order() {
  const BlockType& type = job_.type;
  const int size = type.block_values, group = type.form.group;
  std::vector<float> fed(static_cast<std::size_t>(size) * kLanes);
  for (std::int64_t block = 0; block < job_.inputs / size; ++block) {
    const std::int64_t begin = block * size;
    std::fill(fed.begin(), fed.end(), 0.0f);
    for (int k = 0; k < size; ++k) {
      float* sum = fed.data() + k * kLanes;
      kernels_.accumulate(job_.factor.column(begin + k), errors_.data(), begin, sum);
    }
    std::vector<float> wanted(fed.size());
    for (std::size_t i = 0; i < fed.size(); ++i) {
      wanted[i] = targets_[static_cast<std::size_t>(begin) * kLanes + i] - fed[i];
    }
    choose_scales(block, wanted.data());
    for (int k = 0; k < size; ++k) {
      const std::size_t at = static_cast<std::size_t>(begin + k) * kLanes;
      float* sum = fed.data() + k * kLanes;
      kernels_.accumulate(job_.factor.column(begin + k) + begin, errors_.data() + begin * kLanes, k, sum);
      float want[kLanes], value[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) want[lane] = targets_[at + static_cast<std::size_t>(lane)] - sum[lane];
      kernels_.nearest(job_.levels, groups_[static_cast<std::size_t>((begin + k) / group)], want, levels_.data() + at,
                       value);
      for (int lane = 0; lane < kLanes; ++lane) {
        errors_[at + static_cast<std::size_t>(lane)] = value[lane] - targets_[at + static_cast<std::size_t>(lane)];
      }
    }
  }
}

void Strip::round_plainly() {
  const int size = job_.type.block_values, group = job_.type.form.group;
  for (std::int64_t block = 0; block < job_.inputs / size; ++block) {
    choose_scales(block, targets_.data() + block * size * kLanes);
  }
  for (std::int64_t k = 0; k < job_.inputs; ++k) {
    const std::size_t at = static_cast<std::size_t>(k) * kLanes;
    float value[kLanes];
    kernels_.nearest(job_.levels, groups_[static_cast<std::size_t>(k / group)], targets_.data() + at,
                     levels_.data() + at, value);
    for (int lane = 0; lane < kLanes; ++lane) {
      errors_[at + static_cast<std::size_t>(lane)] = value[lane] - targets_[at + static_cast<std::size_t>(lane)];
    }
  }
}

void Strip::sweep() {
  const int group = job_.type.form.group;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const std::int64_t begin = static_cast<std::int64_t>(g) * group;
    const std::size_t at = static_cast<std::size_t>(begin) * kLanes;
    kernels_.gradients(job_.moment, job_.inputs, begin, group, errors_.data(), gradients_.data());
    if (job_.options.refine_scales) refit(g);
    kernels_.descend(job_.levels, groups_[g], job_.moment, job_.inputs, begin, group, job_.options.local_sweeps,
                     targets_.data() + at, errors_.data() + at, levels_.data() + at, gradients_.data());
  }
}

void Strip::refit(std::size_t g) {
  const int group = job_.type.form.group;
  const std::int64_t begin = static_cast<std::int64_t>(g) * group;
  const std::size_t at = static_cast<std::size_t>(begin) * kLanes;
  alignas(64) float sums[5 * kLanes];
  kernels_.group_sums(job_.moment, job_.inputs, begin, group, levels_.data() + at, gradients_.data(), sums);
  LaneGroup next = groups_[g];
  for (int lane = 0; lane < kLanes; ++lane) refit_lane(g, lane, sums, next);
  if (std::memcmp(&next, &groups_[g], sizeof next) == 0) return;
  groups_[g] = next;
  kernels_.regrid(next, job_.moment, job_.inputs, begin, group, targets_.data() + at, levels_.data() + at,
                  errors_.data() + at, gradients_.data());
}

/// The cost of moving scale by s and minimum by m is 2 s lc - 2 m c1 + s² lml - 2 s m lm1 + m² one: its lowest point,
/// then the best of what the type can store near it.
void Strip::refit_lane(std::size_t g, int lane, const float* sums, LaneGroup& next) {
  const BlockType& type = job_.type;
  const double lc = sums[lane], lml = sums[kLanes + lane], c1 = sums[2 * kLanes + lane], lm1 = sums[3 * kLanes + lane],
               one = sums[4 * kLanes + lane];
  if (!(lml > 0)) return;
  const auto cost = [&](double s, double m) {
    return 2 * s * lc - 2 * m * c1 + s * s * lml - 2 * s * m * lm1 + m * m * one;
  };
  const float scale = groups_[g].scale[lane], minimum = groups_[g].minimum[lane];
  double s = -lc / lml, m = 0;
  if (type.form.has_minimum) {
    const double determinant = lml * one - lm1 * lm1;
    if (determinant > 1e-9 * lml * one) {
      s = (-lc * one + lm1 * c1) / determinant;
      m = (lml * c1 - lm1 * lc) / determinant;
    }
  }
  double best = 0;
  const auto offer = [&](float new_scale, float new_minimum) {
    const double change = cost(double(new_scale) - scale, double(new_minimum) - minimum);
    if (!(change < best)) return false;
    best = change;
    next.scale[lane] = new_scale;
    next.minimum[lane] = new_minimum;
    return true;
  };
  if (type.form.scales != ScaleForm::kMultiples) {
    const float new_scale = to_f16(static_cast<float>(scale + s));
    offer(new_scale, minimum);
    if (type.form.has_minimum) {
      offer(new_scale, to_f16(static_cast<float>(minimum + m)));
      offer(scale, to_f16(static_cast<float>(minimum + c1 / one)));
    }
    return;
  }
  const std::size_t at = g * kLanes + static_cast<std::size_t>(lane);
  const std::size_t unit_at =
      g / static_cast<std::size_t>(type.block_values / type.form.group) * kLanes + static_cast<std::size_t>(lane);
  const float unit = units_[unit_at], minimum_unit = type.form.has_minimum ? minimum_units_[unit_at] : 0;
  if (unit == 0) return;
  const int middle = static_cast<int>(std::lrint(std::clamp((scale + s) / unit, -200.0, 200.0)));
  const int low =
      minimum_unit == 0 ? 0 : static_cast<int>(std::lrint(std::clamp((minimum + m) / minimum_unit, -200.0, 200.0)));
  for (int i = middle - 1; i <= middle + 1; ++i) {
    if (i < job_.range.low || i > job_.range.high) continue;
    for (int j = low - 1; j <= low + 1; ++j) {
      if (minimum_unit == 0 ? j != 0 : j < job_.range.minimum_low || j > job_.range.minimum_high) continue;
      if (offer(unit * static_cast<float>(i), minimum_unit * static_cast<float>(j))) {
        multiples_[at] = static_cast<std::int8_t>(i);
        minimum_multiples_[at] = static_cast<std::int8_t>(j);
      }
    }
  }
}

double Strip::error() const {
  std::vector<float> gradients(kLanes * 4);
  double total = 0;
  for (std::int64_t k = 0; k < job_.inputs; k += 4) {
    const int count = static_cast<int>(std::min<std::int64_t>(4, job_.inputs - k));
    kernels_.gradients(job_.moment, job_.inputs, k, count, errors_.data(), gradients.data());
    for (int i = 0; i < count; ++i) {
      for (int lane = 0; lane < rows_; ++lane) {
        total += double(gradients[static_cast<std::size_t>(i * kLanes + lane)]) *
                 errors_[static_cast<std::size_t>((k + i) * kLanes + lane)];
      }
    }
  }
  return total;
}

/// What was chosen lies on the type's grid, so its encoder finds it again exactly.
void Strip::write(std::int64_t first_row, CompensateReport& report) {
  const BlockType& type = job_.type;
  const auto inputs = static_cast<std::size_t>(job_.inputs);
  std::vector<float> row(inputs), back(inputs);
  for (int lane = 0; lane < rows_; ++lane) {
    for (std::size_t k = 0; k < inputs; ++k) {
      const LaneGroup& group = groups_[k / static_cast<std::size_t>(type.form.group)];
      float value = group.scale[lane] * levels_[k * kLanes + static_cast<std::size_t>(lane)];
      if (type.form.has_minimum) value -= group.minimum[lane];
      row[k] = value;
    }
    std::byte* to = job_.out + static_cast<std::size_t>(first_row + lane) * type.row_bytes(inputs);
    const std::size_t blocks = inputs / static_cast<std::size_t>(type.block_values);
    type.encode(row.data(), blocks, nullptr, to);
    type.decode(to, blocks, back.data());
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t at = b * static_cast<std::size_t>(type.block_values);
      if (!std::equal(row.begin() + at, row.begin() + at + type.block_values, back.begin() + at))
        ++report.inexact_blocks;
    }
  }
}

MultipleRange observed_range(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                             std::int64_t inputs, const float* importance) {
  MultipleRange range;
  if (type.form.scales != ScaleForm::kMultiples) return range;
  const auto blocks = static_cast<std::size_t>(inputs / type.block_values);
  const std::size_t groups = static_cast<std::size_t>(type.block_values / type.form.group) * blocks;
  std::vector<std::byte> data(blocks * static_cast<std::size_t>(type.block_bytes));
  std::vector<std::int8_t> multiples(groups), minimums(groups);
  std::vector<float> units(blocks), minimum_units(blocks);
  for (std::int64_t row = 0; row < std::min<std::int64_t>(rows, 256); ++row) {
    type.encode(targets.data() + row * inputs, blocks, importance, data.data());
    type.multiples(data.data(), blocks, units.data(), minimum_units.data(), multiples.data(), minimums.data());
    for (std::size_t g = 0; g < groups; ++g) {
      range.low = std::min<int>(range.low, multiples[g]), range.high = std::max<int>(range.high, multiples[g]);
      range.minimum_low = std::min<int>(range.minimum_low, minimums[g]);
      range.minimum_high = std::max<int>(range.minimum_high, minimums[g]);
    }
  }
  return range;
}

}  // namespace

Result<CompensateReport> round_compensated(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                                           OrderedMoments& moments, const CompensateOptions& options, ThreadPool& pool,
                                           std::byte* out) {
  if (type.form.trellis != nullptr) return round_trellis(type, targets, rows, moments, options, pool, out);
  const std::int64_t inputs = moments.inputs();
  KINGLET_TRY(const MomentFactor* factor, moments.factor(InputOrder::kNatural, pool));
  std::vector<float> list;
  Job job{type, targets, rows, inputs, moments.moment(InputOrder::kNatural).data(), *factor, options, out, {}, {}};
  job.range = observed_range(type, targets, rows, inputs, factor->pivots.data());
  if (type.form.codebook != nullptr) {
    for (int i = 0; i < 1 << type.form.bits; ++i) list.push_back(type.form.codebook[i]);
    job.levels = {
        .low = list.front(), .high = list.back(), .list = list.data(), .count = static_cast<int>(list.size())};
  } else {
    const float half = static_cast<float>(1 << (type.form.bits - 1));
    job.levels =
        type.form.is_signed ? LevelSet{.low = -half, .high = half - 1} : LevelSet{.low = 0, .high = 2 * half - 1};
  }
  const std::int64_t strips = (rows + kLanes - 1) / kLanes;
  std::vector<CompensateReport> reports(static_cast<std::size_t>(strips));
  std::atomic<std::int64_t> next{0};
  pool.run([&](int) {
    Strip strip(job);
    for (std::int64_t i = next++; i < strips; i = next++) strip.run(i * kLanes, reports[static_cast<std::size_t>(i)]);
  });
  CompensateReport total;
  for (const CompensateReport& each : reports) {
    total.error += each.error;
    total.first_error += each.first_error;
    total.inexact_blocks += each.inexact_blocks;
  }
  return total;
}

}  // namespace kinglet
