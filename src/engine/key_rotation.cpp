#include "engine/key_rotation.h"

#include <cmath>

namespace kinglet {

KeyRotation::KeyRotation(const ModelConfig& config)
    : rope_(config),
      pairs_(config.rope == RopeKind::kPairs),
      cosines_(rope_.kinds.size()),
      sines_(rope_.kinds.size()) {}

void KeyRotation::reach(std::int64_t slots) {
  const std::int64_t groups = (slots + kKvGroup - 1) / kKvGroup;
  if (groups <= groups_) return;
  for (std::size_t kind = 0; kind < rope_.kinds.size(); ++kind) {
    if (rope_.kinds[kind].sliding) continue;
    const std::vector<double>& frequencies = rope_.kinds[kind].frequencies;
    cosines_[kind].resize(static_cast<std::size_t>(groups * kKvGroup) * frequencies.size());
    sines_[kind].resize(cosines_[kind].size());
    std::size_t at = static_cast<std::size_t>(groups_ * kKvGroup) * frequencies.size();
    for (std::int64_t group = groups_; group < groups; ++group)
      for (const double frequency : frequencies)
        for (int lane = 0; lane < kKvGroup; ++lane, ++at) {
          const double angle = static_cast<double>(group * kKvGroup + lane) * frequency;
          cosines_[kind][at] = static_cast<float>(std::cos(angle));
          sines_[kind][at] = static_cast<float>(std::sin(angle));
        }
  }
  groups_ = groups;
}

SlotAngles KeyRotation::of(int layer) const {
  const auto kind = static_cast<std::size_t>(rope_.of_layer[static_cast<std::size_t>(layer)]);
  return {.cosines = cosines_[kind].data(),
          .sines = sines_[kind].data(),
          .half = static_cast<int>(rope_.kinds[kind].frequencies.size()),
          .pairs = pairs_};
}

}  // namespace kinglet
