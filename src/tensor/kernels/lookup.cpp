#include "tensor/kernels/lookup.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_memory.h"
#include "tensor/kernels/matmul.h"
#include "tensor/kernels/tile_format.h"

namespace kinglet {
namespace {

constexpr std::int64_t kInputs = 1024, kOutputs = 256;  // at most 150 KB: in the cache
constexpr int kRounds = 20;

struct Trial {
  PackPlan plan;
  AlignedMemory tiles;
  double seconds = 1e9;
};

/// Alternately; the fastest of each counts, as the others were disturbed.
void race(std::array<Trial, 2>& trials) {
  std::vector<float> values(kInputs), y(kOutputs);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 101) - 50;
  std::vector<std::byte> quantized(quantized_row_bytes(kInputs));
  quantize_row(values.data(), kInputs, quantized.data());
  LinearInput input;
  input.quantized = quantized.data();
  input.quantized_stride = quantized.size();
  input.rows = 1;
  for (int round = 0; round < kRounds; ++round) {
    for (Trial& trial : trials) {
      const auto start = std::chrono::steady_clock::now();
      multiply_tiles(trial.plan, trial.tiles.data(), static_cast<int>(trial.plan.tiles()), kOutputs, input, y.data(),
                     kOutputs);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      if (round > 0) trial.seconds = std::min(trial.seconds, taken.count());
    }
  }
}

LookupChoice measure(int bits) {
  LookupChoice choice;
  const char* given = std::getenv("KINGLET_KERNEL");
  const std::string_view wanted = given ? given : "";
  if (wanted == "dot" || wanted == "lookup") {
    choice.use = wanted == "lookup";
    return choice;
  }
  const BlockType* type = find_block_type("U" + std::to_string(bits));
  if (!type) return choice;
  std::vector<std::byte> source(static_cast<std::size_t>(kOutputs) * type->row_bytes(kInputs));
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 29 % 59);  // tame scales
  std::array<Trial, 2> trials;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    trials[i].plan = *plan_packing(*type, kOutputs, kInputs, i == 0 ? ProductKernel::kDot : ProductKernel::kLookup);
    auto memory =
        AlignedMemory::allocate(static_cast<std::size_t>(trials[i].plan.tiles()) * trials[i].plan.tile_bytes + 16384);
    if (!memory) return choice;
    trials[i].tiles = std::move(*memory);
    pack_tiles(trials[i].plan, source.data(), 0, trials[i].plan.tiles(), trials[i].tiles.data());
  }
  race(trials);
  constexpr double kBlocks = kInputs / 32.0 * (kOutputs / 16.0);
  choice.dot = trials[0].seconds * 1e9 / kBlocks;
  choice.lookup = trials[1].seconds * 1e9 / kBlocks;
  choice.use = choice.lookup * 1.1 < choice.dot;
  return choice;
}

}  // namespace

std::string describe_kernel(const PackPlan& plan) {
  if (is_float_format(plan.format) || !kTileFormats[plan.format].odd) return {};
  const TileFormat& format = kTileFormats[plan.format];
  const LookupChoice& choice = lookup_choice(format.width);
  char text[96];
  std::snprintf(text, sizeof text, "U%d %s (%.1f ns for 32 x 16 weights, %s %.1f)", format.width,
                format.planes ? "by look-up" : "unpacked", format.planes ? choice.lookup : choice.dot,
                format.planes ? "unpacked" : "by look-up", format.planes ? choice.dot : choice.lookup);
  return text;
}

const LookupChoice& lookup_choice(int bits) {
  static const LookupChoice choices[] = {measure(1), measure(2), measure(3), measure(4)};
  return choices[std::clamp(bits, 1, 4) - 1];
}

}  // namespace kinglet
