// A sequence's snapshot from memory, under a checksum that fits. Oracle: what is accepted lies within the context, can
// be cut, continued and written, and what was written restores to the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "engine/cache/sequence_cache.h"

namespace {

using namespace kinglet;

void require(bool condition) {
  if (!condition) std::abort();
}

std::string sealed(std::string body) {
  const auto digest = sha256(body).bytes();
  return body + std::string(digest.begin(), digest.end());
}

/// The shape that the seeds in fuzz/corpus/sequence_snapshot have: a full layer and a sliding one.
std::shared_ptr<const CacheConfig> config() {
  auto made = std::make_shared<CacheConfig>();
  made->layers = {{.kv_heads = 2, .window = 0}, {.kv_heads = 1, .window = 20}};
  made->context = 2000;
  made->fingerprint = "fuzz";
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto shape = config();
  static const auto store =
      std::make_shared<PagedStore>(KvLayout{.storage = KvStorage::kInt8, .key_length = 16, .value_length = 16});
  SequenceCache sequence(store, shape);
  const std::string body(reinterpret_cast<const char*>(data), size);
  (void)sequence.restore(body);
  if (!sequence.restore(sealed(body))) {
    require(sequence.length() == 0 && sequence.bytes() == 0);
    return 0;
  }
  for (int layer = 0; layer < 2; ++layer) require(sequence.slots(layer) <= 2000 && sequence.seen(layer) <= 2000);
  const std::string written = sequence.snapshot().value();
  SequenceCache other(store, shape);
  require(other.restore(written).has_value());
  require(other.snapshot().value() == written);
  auto copy = other.fork();
  require(copy.has_value());
  std::vector<std::int32_t> next(40);
  std::iota(next.begin(), next.end(), static_cast<std::int32_t>(std::max(other.seen(0), other.seen(1))));
  if (other.reserve(0, 2, next)) other.commit(0, 2);
  (void)other.truncate(other.length() / 2);
  require((*copy)->snapshot().value() == written);
  return 0;
}
