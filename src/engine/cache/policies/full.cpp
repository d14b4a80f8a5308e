// Everything stays: what every model is made for.
#include "kinglet/cache_policy.h"

namespace kinglet {

extern const CachePolicyDescriptor cache_policy_full;
const CachePolicyDescriptor cache_policy_full = {
    .name = "full",
    .paper = "",
    .help = "Remembers every position",
    .options = {},
    .make = [](const CachePolicyValues&, int) -> Result<std::unique_ptr<const CachePolicy>> { return nullptr; },
};

}  // namespace kinglet
