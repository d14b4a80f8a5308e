#include "engine/rope.h"

#include <cmath>

namespace kinglet {

RopeTables::RopeTables(const ModelConfig& config) {
  for (const LayerConfig& layer : config.per_layer) {
    std::size_t kind = 0;
    const bool sliding = layer.sliding_window > 0;
    while (kind < kinds.size() && (kinds[kind].base != layer.rope_base || kinds[kind].scale != layer.rope_scale ||
                                   kinds[kind].sliding != sliding))
      ++kind;
    if (kind == kinds.size()) {
      Kind& added = kinds.emplace_back(Kind{layer.rope_base, layer.rope_scale, sliding, {}});
      for (std::int64_t i = 0; i < config.rope_dimensions; i += 2) {
        double frequency = std::pow(layer.rope_base, -double(i) / double(config.rope_dimensions)) * layer.rope_scale;
        if (!config.rope_factors.empty()) frequency /= double(config.rope_factors[std::size_t(i / 2)]);
        added.frequencies.push_back(frequency);
      }
    }
    of_layer.push_back(int(kind));
  }
}

void RopeTables::fill(std::span<const std::int32_t> positions, std::span<const std::int32_t> full_positions,
                      std::size_t begin, std::size_t end, std::size_t max_rows, float* cosines, float* sines) const {
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    const std::vector<double>& frequencies = kinds[kind].frequencies;
    const auto places = kinds[kind].sliding || full_positions.empty() ? positions : full_positions;
    for (std::size_t row = begin; row < end; ++row) {
      const std::size_t at = (kind * max_rows + row) * frequencies.size();
      for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double angle = double(places[row]) * frequencies[i];
        cosines[at + i] = float(std::cos(angle));
        sines[at + i] = float(std::sin(angle));
      }
    }
  }
}

std::vector<float> mean_rotation(const RopeTables::Kind& kind, RopeKind rope, std::span<const float> x,
                                 std::int64_t positions) {
  std::vector<float> mean(x.begin(), x.end());
  if (rope == RopeKind::kNone) return mean;
  const std::size_t half = kind.frequencies.size();
  for (std::size_t i = 0; i < half; ++i) {
    double c = 0, s = 0;
    for (std::int64_t position = 0; position < positions; ++position) {
      const double angle = double(position) * kind.frequencies[i];
      c += std::cos(angle);
      s += std::sin(angle);
    }
    c /= double(positions), s /= double(positions);
    const std::size_t a = rope == RopeKind::kPairs ? 2 * i : i, b = rope == RopeKind::kPairs ? 2 * i + 1 : half + i;
    mean[a] = float(double(x[a]) * c - double(x[b]) * s);
    mean[b] = float(double(x[b]) * c + double(x[a]) * s);
  }
  return mean;
}

std::size_t rope_table_count(const ModelConfig& config) { return RopeTables(config).kinds.size(); }

}  // namespace kinglet
