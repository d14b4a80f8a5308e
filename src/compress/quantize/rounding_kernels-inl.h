// Bodies of RoundingKernels; each source that includes this is compiled for its own instruction set.
#pragma once

#include <cstring>

#include "compress/quantize/rounding_kernels.h"
#include "tensor/quantize/lanes.h"

namespace kinglet {
namespace {

void accumulate_errors(const float* factors, const float* errors, std::int64_t count, float* sum) {
  Lanes chains[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int c = 0; c < 4; ++c) {
      Lanes error;
      load_lanes(errors + (i + c) * kRoundingLanes, error);
      chains[c] += error * factors[i + c];
    }
  }
  for (; i < count; ++i) {
    Lanes error;
    load_lanes(errors + i * kRoundingLanes, error);
    chains[i % 4] += error * factors[i];
  }
  Lanes total;
  load_lanes(sum, total);
  total += (chains[0] + chains[1]) + (chains[2] + chains[3]);
  std::memcpy(sum, &total, sizeof total);
}

void round_to_grid(const LevelSet& set, const LaneGroup& group, const float* wanted, float* levels, float* values) {
  Lanes x, scale, minimum;
  load_lanes(wanted, x);
  load_lanes(group.scale, scale);
  load_lanes(group.minimum, minimum);
  const Lanes one = Lanes{} + 1.0f;
  const Lanes divisor = scale == Lanes{} ? one : scale;
  Lanes level = (x + minimum) / divisor;
  if (set.list == nullptr) {
    clamp_lanes(level, set.low, set.high);
    round_lanes(level);
  } else {
    Lanes found = Lanes{} + set.list[0];
    for (int k = 0; k + 1 < set.count; ++k) {
      const Lanes middle = Lanes{} + (set.list[k] + set.list[k + 1]) / 2;
      const Lanes rise = Lanes{} + (set.list[k + 1] - set.list[k]);
      found += level > middle ? rise : Lanes{};
    }
    level = found;
  }
  const Lanes value = scale * level - minimum;
  std::memcpy(levels, &level, sizeof level);
  std::memcpy(values, &value, sizeof value);
}

void error_gradients(const float* moment, std::int64_t inputs, std::int64_t begin, int count, const float* errors,
                     float* gradients) {
  // Four rows of the matrix at a time share the loads of the errors.
  int row = 0;
  for (; row + 4 <= count; row += 4) {
    const float* factors = moment + (begin + row) * inputs;
    Lanes sums[4] = {};
    for (std::int64_t i = 0; i < inputs; ++i) {
      Lanes error;
      load_lanes(errors + i * kRoundingLanes, error);
      for (int r = 0; r < 4; ++r) sums[r] += error * factors[r * inputs + i];
    }
    std::memcpy(gradients + row * kRoundingLanes, sums, sizeof sums);
  }
  for (; row < count; ++row) {
    const float* factors = moment + (begin + row) * inputs;
    Lanes sum = {};
    for (std::int64_t i = 0; i < inputs; ++i) {
      Lanes error;
      load_lanes(errors + i * kRoundingLanes, error);
      sum += error * factors[i];
    }
    std::memcpy(gradients + row * kRoundingLanes, &sum, sizeof sum);
  }
}

void sums_of_group(const float* moment, std::int64_t inputs, std::int64_t begin, int count, const float* levels,
                   const float* gradients, float* sums) {
  Lanes lc{}, lml{}, c1{}, lm1{};
  float ones = 0;
  for (int k = 0; k < count; ++k) {
    const float* row = moment + (begin + k) * inputs + begin;
    Lanes level, gradient, product{};
    load_lanes(levels + k * kRoundingLanes, level);
    load_lanes(gradients + k * kRoundingLanes, gradient);
    float all = 0;
    for (int j = 0; j < count; ++j) {
      Lanes other;
      load_lanes(levels + j * kRoundingLanes, other);
      product += other * row[j];
      all += row[j];
    }
    lc += level * gradient;
    c1 += gradient;
    lml += level * product;
    lm1 += level * all;
    ones += all;
  }
  const Lanes one_one = Lanes{} + ones;
  std::memcpy(sums, &lc, sizeof lc);
  std::memcpy(sums + kRoundingLanes, &lml, sizeof lml);
  std::memcpy(sums + 2 * kRoundingLanes, &c1, sizeof c1);
  std::memcpy(sums + 3 * kRoundingLanes, &lm1, sizeof lm1);
  std::memcpy(sums + 4 * kRoundingLanes, &one_one, sizeof one_one);
}

KINGLET_INLINE bool any_lane(const Lanes& lanes) {
  const LaneMask mask = lanes != Lanes{};
  int any = 0;
  for (int lane = 0; lane < kRoundingLanes; ++lane) any |= mask[lane];
  return any != 0;
}

KINGLET_INLINE void add_to_gradients(const float* row, int count, const Lanes& change, float* gradients) {
  for (int j = 0; j < count; ++j) {
    Lanes gradient;
    load_lanes(gradients + j * kRoundingLanes, gradient);
    gradient += change * row[j];
    std::memcpy(gradients + j * kRoundingLanes, &gradient, sizeof gradient);
  }
}

bool descend_group(const LevelSet& set, const LaneGroup& group, const float* moment, std::int64_t inputs,
                   std::int64_t begin, int count, int sweeps, const float* targets, float* errors, float* levels,
                   float* gradients) {
  bool changed = false;
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    bool moved = false;
    for (int k = 0; k < count; ++k) {
      const float* row = moment + (begin + k) * inputs + begin;
      Lanes target, error, gradient;
      load_lanes(targets + k * kRoundingLanes, target);
      load_lanes(errors + k * kRoundingLanes, error);
      load_lanes(gradients + k * kRoundingLanes, gradient);
      const Lanes wanted = target + error - gradient * (1 / row[k]);
      float value[kRoundingLanes];
      round_to_grid(set, group, reinterpret_cast<const float*>(&wanted), levels + k * kRoundingLanes, value);
      Lanes next;
      load_lanes(value, next);
      next -= target;
      const Lanes change = next - error;
      if (!any_lane(change)) continue;
      moved = true;
      std::memcpy(errors + k * kRoundingLanes, &next, sizeof next);
      add_to_gradients(row, count, change, gradients);
    }
    changed |= moved;
    if (!moved) break;
  }
  return changed;
}

void move_group(const LaneGroup& group, const float* moment, std::int64_t inputs, std::int64_t begin, int count,
                const float* targets, const float* levels, float* errors, float* gradients) {
  Lanes scale, minimum;
  load_lanes(group.scale, scale);
  load_lanes(group.minimum, minimum);
  for (int k = 0; k < count; ++k) {
    Lanes level, target, error;
    load_lanes(levels + k * kRoundingLanes, level);
    load_lanes(targets + k * kRoundingLanes, target);
    load_lanes(errors + k * kRoundingLanes, error);
    const Lanes next = scale * level - minimum - target;
    const Lanes change = next - error;
    std::memcpy(errors + k * kRoundingLanes, &next, sizeof next);
    add_to_gradients(moment + (begin + k) * inputs + begin, count, change, gradients);
  }
}

void spread_row(const float* factors, const float* y, std::int64_t count, float* rows) {
  Lanes value;
  load_lanes(y, value);
  for (std::int64_t i = 0; i < count; ++i) {
    Lanes row;
    load_lanes(rows + i * kRoundingLanes, row);
    row -= value * factors[i];
    std::memcpy(rows + i * kRoundingLanes, &row, sizeof row);
  }
}

constexpr int kPathInputs = 32, kMostStates = 16;

struct TrellisPaths {
  Lanes cost[kMostStates];
  Lanes fed[kMostStates][kPathInputs];
};

void find_trellis_path(const TrellisJob& job, std::uint8_t* windows, float* cost) {
  static thread_local TrellisPaths buffers[2];
  alignas(64) int reached[kPathInputs][kMostStates][kRoundingLanes];
  TrellisPaths *now = &buffers[0], *next = &buffers[1];
  const int fields = 2 * job.states;
  Lanes scale;
  load_lanes(job.scales, scale);
  for (int s = 0; s < job.states; ++s) now->cost[s] = Lanes{} + (s == 0 ? 0.0f : 1e30f);
  std::memcpy(now->fed[0], job.fed, sizeof now->fed[0]);
  for (int s = 1; s < job.states; ++s) std::memcpy(now->fed[s], now->fed[0], sizeof now->fed[0]);
  for (int j = 0; j < kPathInputs; ++j) {
    Lanes target, costs[2 * kMostStates], values[2 * kMostStates];
    LaneMask chosen[2 * kMostStates];
    load_lanes(job.targets + j * kRoundingLanes, target);
    const Lanes weight = Lanes{} + job.weights[j];
    for (int field = 0; field < fields; ++field) {
      const int from = field & (job.states - 1);
      const Lanes wanted = target - now->fed[from][j];
      Lanes least = Lanes{} + 3e38f, value{};
      LaneMask best{};
      for (int x = 0; x < job.choices; ++x) {
        const Lanes offer = scale * static_cast<float>(job.levels[x * fields + field]);
        const Lanes error = wanted - offer, square = error * error;
        const LaneMask better = square < least;
        least = better ? square : least;
        value = better ? offer : value;
        best = better ? LaneMask{} + x : best;
      }
      costs[field] = now->cost[from] + weight * least;
      values[field] = value;
      chosen[field] = best * fields + field;
    }
    const float* feedback = job.feedback + j * job.stride;
    for (int s = 0; s < job.states; ++s) {
      const int even = 2 * s, odd = 2 * s + 1;
      const LaneMask take = costs[odd] < costs[even];
      next->cost[s] = take ? costs[odd] : costs[even];
      const LaneMask window = take ? chosen[odd] : chosen[even];
      std::memcpy(reached[j][s], &window, sizeof window);
      const Lanes error = (take ? values[odd] : values[even]) - target;
      const Lanes *a = now->fed[even & (job.states - 1)], *b = now->fed[odd & (job.states - 1)];
      for (int c = j + 1; c < kPathInputs; ++c) next->fed[s][c] = (take ? b[c] : a[c]) + error * feedback[c];
    }
    TrellisPaths* swap = now;
    now = next, next = swap;
  }
  for (int lane = 0; lane < kRoundingLanes; ++lane) {
    int state = 0;
    for (int s = 1; s < job.states; ++s)
      if (now->cost[s][lane] < now->cost[state][lane]) state = s;
    cost[lane] = now->cost[state][lane];
    for (int j = kPathInputs - 1; j >= 0; --j) {
      const int window = reached[j][state][lane];
      windows[j * kRoundingLanes + lane] = static_cast<std::uint8_t>(window);
      state = window & (fields - 1) & (job.states - 1);
    }
  }
}

typedef double Chains __attribute__((vector_size(kDotChains * sizeof(double))));

void dot_doubles(const double* const* rows, const double* const* columns, std::int64_t count, double* sums) {
  Chains all[kDotRows][kDotColumns];
  std::memcpy(all, sums, sizeof all);
  for (std::int64_t i = 0; i < count; i += kDotChains) {
    Chains x[kDotRows], y[kDotColumns];
    for (int r = 0; r < kDotRows; ++r) std::memcpy(&x[r], rows[r] + i, sizeof x[r]);
    for (int c = 0; c < kDotColumns; ++c) std::memcpy(&y[c], columns[c] + i, sizeof y[c]);
    for (int r = 0; r < kDotRows; ++r) {
      for (int c = 0; c < kDotColumns; ++c) all[r][c] += x[r] * y[c];
    }
  }
  std::memcpy(sums, all, sizeof all);
}

double end_dot(const double* row, const double* column, std::int64_t count, const double* begun) {
  Chains sums;
  std::memcpy(&sums, begun, sizeof sums);
  std::int64_t i = 0;
  for (; i + kDotChains <= count; i += kDotChains) {
    Chains x, y;
    std::memcpy(&x, row + i, sizeof x);
    std::memcpy(&y, column + i, sizeof y);
    sums += x * y;
  }
  for (int lane = 0; i < count; ++i, ++lane) sums[lane] += row[i] * column[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

constexpr RoundingKernels kKernels = {
    find_trellis_path, accumulate_errors, round_to_grid, error_gradients, sums_of_group,
    descend_group,     move_group,        spread_row,    dot_doubles,     end_dot};

}  // namespace
}  // namespace kinglet
