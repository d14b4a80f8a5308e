// The control of BiLD: the small model hands over at a given rate, wherever it happens to be.
#include <bit>
#include <cstdint>

#include "decode/random.h"
#include "decode/route/policies/big_little.h"

namespace kinglet {
namespace {

class RandomHandOver final : public BigLittle {
 public:
  using BigLittle::BigLittle;
  /// Chance comes from the logits themselves, so that an answer can be had again.
  bool hands_over(std::span<const float> small) const override {
    std::uint64_t seed = 0;
    for (std::size_t i = 0; i < small.size() && i < 64; ++i) seed = seed * 31 + std::bit_cast<std::uint32_t>(small[i]);
    return Random(seed).uniform() < fallback_;
  }
};

std::unique_ptr<PairPolicy> make(const PairSettings& settings) { return std::make_unique<RandomHandOver>(settings); }

}  // namespace

extern const PairPolicyDescriptor pair_policy_random{"random", "028",
                                                     "Control of bild: hands over with the probability --fallback",
                                                     "--with SMALL --policy random", make};

}  // namespace kinglet
