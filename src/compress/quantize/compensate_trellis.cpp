// Groups of 32 inputs are rounded one after the other by a search for the best path (Viterbi) in which every path
// carries the feedback of its own errors, for a few scales each. Everything is in coding order.
#include "compress/quantize/compensate_trellis.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/quantize/rounding_kernels.h"
#include "tensor/quantize/trellis.h"

namespace kinglet {
namespace {

constexpr int kLanes = kRoundingLanes, kGroup = kTrellisGroup;
constexpr float kRootMeanSquare = 40.7f;  ///< of the levels

/// One group's part of the moments as a problem of its own: what each sweep solves.
struct GroupFactor {
  std::array<float, kGroup * kGroup> feedback;  ///< row j: U[j, c] for c > j
  std::array<float, kGroup> pivots;
  std::array<float, kGroup * kGroup> inverse;
};

struct Job {
  const BlockType& type;
  std::span<const float> targets;
  std::int64_t rows, inputs;
  const CompensateOptions& options;
  std::byte* out;
  std::span<const float> moment;  ///< [inputs, inputs] in coding order
  const MomentFactor& factor;
  std::vector<float> feedback;  ///< [inputs / 32, 32, 32]: row i of a group holds U[i, k] for k > i
  std::vector<GroupFactor> groups;
  std::vector<std::int64_t> order;  ///< coding position -> input
};

/// Of the scale nearest below; see trellis.h.
int scale_code(float scale) {
  if (!(scale > 0)) return 4;
  int exponent;
  const float fraction = std::frexp(scale, &exponent) * 2 - 1;
  return std::clamp(4 * (exponent - 1 + 23) + static_cast<int>(fraction * 4), 4, kTrellisMost);
}

std::uint8_t scale_byte(int code, bool negative) { return static_cast<std::uint8_t>((negative ? 128 : 0) | code); }

using Windows = std::array<std::uint8_t, kGroup * kLanes>;

class TrellisStrip {
 public:
  explicit TrellisStrip(const Job& job) : job_(job), kernels_(rounding_kernels()) {
    const auto inputs = static_cast<std::size_t>(job.inputs);
    targets_.resize(inputs * kLanes);
    errors_.resize(inputs * kLanes);
    windows_.resize(inputs / kGroup);
    scales_.resize(inputs / kGroup);
    bases_.resize(inputs / static_cast<std::size_t>(job.type.block_values));
    bits_ = job.type.form.trellis_bits;
  }
  void run(std::int64_t first_row, CompensateReport& report);

 private:
  using LaneBytes = std::array<std::uint8_t, kLanes>;

  void choose_base(std::int64_t block, const float* wanted);
  void round_group(std::int64_t group, const float* fed);
  void improve_group(std::int64_t group);
  TrellisJob path_job() const;
  void take(std::int64_t group, const TrellisJob& path, std::span<const LaneBytes> tried, const std::uint8_t* keep);
  void set_errors(std::int64_t group, int lane);
  double error() const;
  void write(std::int64_t first_row) const;

  const Job& job_;
  const RoundingKernels& kernels_;
  int rows_ = 0, bits_ = 0;
  std::vector<float> targets_, errors_;
  std::vector<Windows> windows_;
  std::vector<LaneBytes> scales_, bases_;
};

void TrellisStrip::run(std::int64_t first_row, CompensateReport& report) {
  rows_ = static_cast<int>(std::min<std::int64_t>(kLanes, job_.rows - first_row));
  for (std::int64_t k = 0; k < job_.inputs; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::int64_t row = first_row + std::min(lane, rows_ - 1);
      targets_[static_cast<std::size_t>(k * kLanes + lane)] =
          job_.targets[static_cast<std::size_t>(row * job_.inputs + job_.order[static_cast<std::size_t>(k)])];
    }
  }
  const int size = job_.type.block_values;
  std::vector<float> wanted(static_cast<std::size_t>(size) * kLanes);
  alignas(64) float fed[kGroup * kLanes];
  for (std::int64_t block = 0; block < job_.inputs / size; ++block) {
    const std::int64_t begin = block * size;
    for (int k = 0; k < size; ++k) {
      alignas(64) float sum[kLanes] = {};
      if (job_.options.feed_back) kernels_.accumulate(job_.factor.column(begin + k), errors_.data(), begin, sum);
      for (int lane = 0; lane < kLanes; ++lane) {
        const auto at = static_cast<std::size_t>(k * kLanes + lane);
        wanted[at] = targets_[static_cast<std::size_t>(begin) * kLanes + at] - sum[lane];
      }
    }
    choose_base(block, wanted.data());
    for (int g = 0; g < size / kGroup; ++g) {
      const std::int64_t first = begin + g * kGroup;
      std::fill_n(fed, kGroup * kLanes, 0.0f);
      for (int k = 0; k < kGroup; ++k) {
        if (job_.options.feed_back)
          kernels_.accumulate(job_.factor.column(first + k), errors_.data(), first, fed + k * kLanes);
      }
      round_group(first / kGroup, fed);
    }
  }
  if (job_.options.report_errors) report.first_error += error();
  for (int i = 0; i < job_.options.sweeps; ++i) {
    for (std::int64_t g = 0; g < job_.inputs / kGroup; ++g) improve_group(g);
  }
  if (job_.options.report_errors) report.error += error();
  write(first_row);
}

/// Where a block's eight scales begin: so that its largest group finds its own.
void TrellisStrip::choose_base(std::int64_t block, const float* wanted) {
  const std::int64_t begin = block * job_.type.block_values;
  for (int lane = 0; lane < kLanes; ++lane) {
    int most = 4;
    for (int g = 0; g < job_.type.block_values / kGroup; ++g) {
      float sum = 0, weight = 0;
      for (int k = g * kGroup; k < (g + 1) * kGroup; ++k) {
        const float value = wanted[k * kLanes + lane], w = job_.factor.pivots[static_cast<std::size_t>(begin + k)];
        sum += w * value * value;
        weight += w;
      }
      const int code = scale_code(weight > 0 ? std::sqrt(sum / weight) / kRootMeanSquare : 0);
      scales_[static_cast<std::size_t>(begin / kGroup + g)][static_cast<std::size_t>(lane)] = scale_byte(code, false);
      most = std::max(most, code);
    }
    // Two steps of room above the largest group.
    bases_[static_cast<std::size_t>(block)][static_cast<std::size_t>(lane)] =
        static_cast<std::uint8_t>(std::clamp((most + 2 - 7 + 3) / 4, 1, kTrellisMost / 4 - 1));
  }
}

TrellisJob TrellisStrip::path_job() const {
  TrellisJob path;
  path.states = 1 << (6 - bits_);
  path.choices = 1 << (bits_ - 1);
  path.levels = job_.type.form.trellis;
  return path;
}

void TrellisStrip::round_group(std::int64_t group, const float* fed) {
  const auto g = static_cast<std::size_t>(group);
  const std::int64_t begin = group * kGroup;
  const auto& bases = bases_[static_cast<std::size_t>(begin / job_.type.block_values)];
  TrellisJob path = path_job();
  path.targets = targets_.data() + begin * kLanes;
  path.fed = fed;
  path.feedback = job_.feedback.data() + begin * kGroup;
  path.stride = kGroup;
  path.weights = job_.factor.pivots.data() + begin;
  std::vector<LaneBytes> tried;
  for (int step : {-1, 0, 1, 2}) {
    for (bool negative : {false, true}) {
      LaneBytes scales;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const int low = 4 * bases[lane], high = std::min(low + 7, kTrellisMost);
        scales[lane] = scale_byte(std::clamp((scales_[g][lane] & 127) + step, low, high), negative);
      }
      tried.push_back(scales);
    }
  }
  take(group, path, tried, nullptr);
}

/// The best path for each lane over the scales; lanes of `keep` stay unless a path beats their cost.
void TrellisStrip::take(std::int64_t group, const TrellisJob& path, std::span<const LaneBytes> tried,
                        const std::uint8_t* keep) {
  const auto g = static_cast<std::size_t>(group);
  alignas(64) float least[kLanes], cost[kLanes], values[kLanes];
  std::fill_n(least, kLanes, 3e38f);
  Windows windows, best{};
  LaneBytes best_scales{};
  for (const LaneBytes& scales : tried) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) values[lane] = trellis_scale(scales[lane]);
    TrellisJob job = path;
    job.scales = values;
    kernels_.trellis(job, windows.data(), cost);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (!(cost[lane] < least[lane])) continue;
      least[lane] = cost[lane];
      best_scales[lane] = scales[lane];
      for (std::size_t j = 0; j < kGroup; ++j) best[j * kLanes + lane] = windows[j * kLanes + lane];
    }
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (keep != nullptr && keep[lane] != 0) continue;
    scales_[g][lane] = best_scales[lane];
    for (std::size_t j = 0; j < kGroup; ++j) windows_[g][j * kLanes + lane] = best[j * kLanes + lane];
    set_errors(group, static_cast<int>(lane));
  }
}

void TrellisStrip::set_errors(std::int64_t group, int lane) {
  const auto g = static_cast<std::size_t>(group);
  const float scale = trellis_scale(scales_[g][static_cast<std::size_t>(lane)]);
  for (int j = 0; j < kGroup; ++j) {
    const auto at = static_cast<std::size_t>((group * kGroup + j) * kLanes + lane);
    errors_[at] =
        scale * job_.type.form.trellis[windows_[g][static_cast<std::size_t>(j * kLanes + lane)]] - targets_[at];
  }
}

/// Given all other groups, the group's best values are where the gradient vanishes; the paths nearest to them by the
/// group's own moments are searched, and taken where they cost less than what is there.
void TrellisStrip::improve_group(std::int64_t group) {
  const auto g = static_cast<std::size_t>(group);
  const std::int64_t begin = group * kGroup;
  const GroupFactor& own = job_.groups[g];
  const auto& bases = bases_[static_cast<std::size_t>(begin / job_.type.block_values)];
  alignas(64) float gradients[kGroup * kLanes], wanted[kGroup * kLanes], zero[kGroup * kLanes] = {};
  kernels_.gradients(job_.moment.data(), job_.inputs, begin, kGroup, errors_.data(), gradients);
  // wanted = value - inverse * gradient
  for (int j = 0; j < kGroup; ++j) {
    alignas(64) float sum[kLanes] = {};
    kernels_.accumulate(own.inverse.data() + j * kGroup, gradients, kGroup, sum);
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto at = static_cast<std::size_t>((begin + j) * kLanes + lane);
      wanted[j * kLanes + lane] = targets_[at] + errors_[at] - sum[lane];
    }
  }
  // What is there costs, by the same measure:
  alignas(64) float present[kLanes] = {};
  for (int c = 0; c < kGroup; ++c) {
    for (int lane = 0; lane < kLanes; ++lane) {
      float sum = 0;
      for (int i = 0; i <= c; ++i) {
        const auto at = static_cast<std::size_t>((begin + i) * kLanes + lane);
        const float off = targets_[at] + errors_[at] - wanted[i * kLanes + lane];
        sum += i == c ? off : off * own.feedback[static_cast<std::size_t>(i * kGroup + c)];
      }
      present[lane] += own.pivots[static_cast<std::size_t>(c)] * sum * sum;
    }
  }
  TrellisJob path = path_job();
  path.targets = wanted;
  path.fed = zero;
  path.feedback = own.feedback.data();
  path.stride = kGroup;
  path.weights = own.pivots.data();
  alignas(64) float least[kLanes], cost[kLanes], values[kLanes];
  std::copy_n(present, kLanes, least);
  for (int step : {0, -1, 1}) {
    LaneBytes scales;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const int low = 4 * bases[lane], high = std::min(low + 7, kTrellisMost);
      scales[lane] = scale_byte(std::clamp((scales_[g][lane] & 127) + step, low, high), (scales_[g][lane] & 128) != 0);
      values[lane] = trellis_scale(scales[lane]);
    }
    Windows windows;
    path.scales = values;
    kernels_.trellis(path, windows.data(), cost);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (!(cost[lane] < 0.9999f * least[lane])) continue;
      least[lane] = cost[lane];
      scales_[g][lane] = scales[lane];
      for (std::size_t j = 0; j < kGroup; ++j) windows_[g][j * kLanes + lane] = windows[j * kLanes + lane];
      set_errors(group, static_cast<int>(lane));
    }
  }
}

double TrellisStrip::error() const {
  std::vector<float> gradients(kLanes * kGroup);
  double total = 0;
  for (std::int64_t k = 0; k < job_.inputs; k += kGroup) {
    kernels_.gradients(job_.moment.data(), job_.inputs, k, kGroup, errors_.data(), gradients.data());
    for (int i = 0; i < kGroup; ++i) {
      for (int lane = 0; lane < rows_; ++lane) {
        total += double(gradients[static_cast<std::size_t>(i * kLanes + lane)]) *
                 errors_[static_cast<std::size_t>((k + i) * kLanes + lane)];
      }
    }
  }
  return total;
}

void TrellisStrip::write(std::int64_t first_row) const {
  const int groups = job_.type.block_values / kGroup, code_bytes = 4 * bits_, header = 1 + (groups + 1) / 2;
  const auto row_bytes = job_.type.row_bytes(static_cast<std::uint64_t>(job_.inputs));
  for (int lane = 0; lane < rows_; ++lane) {
    auto* row = octets(job_.out) + static_cast<std::uint64_t>(first_row + lane) * row_bytes;
    for (std::size_t block = 0; block < bases_.size(); ++block) {
      std::uint8_t* to = row + block * static_cast<std::size_t>(job_.type.block_bytes);
      std::fill_n(to, header, std::uint8_t{0});
      const int base = bases_[block][static_cast<std::size_t>(lane)];
      to[0] = static_cast<std::uint8_t>(base);
      for (int g = 0; g < groups; ++g) {
        const std::size_t at = block * static_cast<std::size_t>(groups) + static_cast<std::size_t>(g);
        const std::uint8_t scale = scales_[at][static_cast<std::size_t>(lane)];
        const int nibble = (scale >> 4 & 8) | ((scale & 127) - 4 * base);
        to[1 + g / 2] = static_cast<std::uint8_t>(to[1 + g / 2] | nibble << (g % 2 * 4));
        std::uint8_t windows[kGroup];
        for (std::size_t j = 0; j < kGroup; ++j) windows[j] = windows_[at][j * kLanes + static_cast<std::size_t>(lane)];
        std::uint8_t* codes = to + header + g * code_bytes;
        if (bits_ == 2) write_windows<2>(windows, codes);
        if (bits_ == 3) write_windows<3>(windows, codes);
        if (bits_ == 4) write_windows<4>(windows, codes);
        if (bits_ == 5) write_windows<5>(windows, codes);
        if (bits_ == 6) write_windows<6>(windows, codes);
      }
    }
  }
}

/// Factor and inverse of one group's moments. They are positive definite, as the whole is.
GroupFactor group_factor(const float* moment, std::int64_t inputs, std::int64_t begin, ThreadPool& pool) {
  GroupFactor own{};
  std::vector<float> part(kGroup * kGroup);
  for (int i = 0; i < kGroup; ++i) std::copy_n(moment + (begin + i) * inputs + begin, kGroup, part.data() + i * kGroup);
  const auto factor = factorise(part, kGroup, pool);
  if (!factor) {
    for (std::size_t i = 0; i < kGroup; ++i) own.pivots[i] = 1;
    return own;
  }
  for (int c = 0; c < kGroup; ++c) {
    own.pivots[static_cast<std::size_t>(c)] = factor->pivots[static_cast<std::size_t>(c)];
    for (int i = 0; i < c; ++i) own.feedback[static_cast<std::size_t>(i * kGroup + c)] = factor->column(c)[i];
  }
  for (int first = 0; first < kGroup; first += kLanes) {
    std::vector<float> unit(kGroup * kLanes);
    for (int lane = 0; lane < kLanes; ++lane) unit[static_cast<std::size_t>((first + lane) * kLanes + lane)] = 1;
    solve(*factor, unit.data());
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int k = 0; k < kGroup; ++k)
        own.inverse[static_cast<std::size_t>((first + lane) * kGroup + k)] =
            unit[static_cast<std::size_t>(k * kLanes + lane)];
    }
  }
  return own;
}

}  // namespace

Result<CompensateReport> round_trellis(const BlockType& type, std::span<const float> targets, std::int64_t rows,
                                       OrderedMoments& moments, const CompensateOptions& options, ThreadPool& pool,
                                       std::byte* out) {
  const std::int64_t inputs = moments.inputs();
  const auto n = static_cast<std::size_t>(inputs);
  KINGLET_TRY(const MomentFactor* factor, moments.factor(InputOrder::kTrellis, pool));
  Job job{type, targets, rows, inputs, options, out, moments.moment(InputOrder::kTrellis), *factor, {}, {}, {}};
  job.order.resize(n);
  for (std::size_t k = 0; k < n; ++k)
    job.order[k] = static_cast<std::int64_t>(k) / kGroup * kGroup + kTrellisOrder[k % kGroup];
  job.feedback.resize(n * kGroup);
  for (std::size_t k = 0; k < n; ++k) {
    const float* column = factor->column(static_cast<std::int64_t>(k));
    for (std::size_t i = k / kGroup * kGroup; i < k; ++i) job.feedback[i * kGroup + k % kGroup] = column[i];
  }
  job.groups.resize(n / kGroup);
  const std::int64_t strips = (rows + kLanes - 1) / kLanes;
  std::vector<CompensateReport> reports(static_cast<std::size_t>(strips));
  std::atomic<std::int64_t> next{0};
  pool.run([&](int thread) {
    const WorkShare share = work_share(static_cast<std::int64_t>(job.groups.size()), thread, pool.size());
    for (std::int64_t g = share.begin; g < share.end; ++g)
      job.groups[static_cast<std::size_t>(g)] = group_factor(job.moment.data(), inputs, g * kGroup, pool);
    pool.barrier();
    TrellisStrip strip(job);
    for (std::int64_t i = next++; i < strips; i = next++) strip.run(i * kLanes, reports[static_cast<std::size_t>(i)]);
  });
  CompensateReport total;
  for (const CompensateReport& each : reports) {
    total.error += each.error;
    total.first_error += each.first_error;
  }
  return total;
}

}  // namespace kinglet
