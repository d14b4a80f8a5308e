// Big-little decoding (BiLD, Kim et al. 2023): the small model hands over where it is unsure, the large one undoes what
// it finds too unlikely. The search for the first bad token goes past those that the large model would write itself.
#include "decode/route/policies/big_little.h"

namespace kinglet {
namespace {

std::unique_ptr<PairPolicy> make(const PairSettings& settings) { return std::make_unique<BigLittle>(settings); }

}  // namespace

extern const PairPolicyDescriptor pair_policy_bild{
    "bild", "028", "A small model writes, a large one steps in and undoes; lossy", "--with SMALL", make};

}  // namespace kinglet
