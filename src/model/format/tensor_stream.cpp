#include "model/format/tensor_stream.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/try.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

constexpr std::int64_t kPiece = 1 << 18;  // values a thread and step: 1 MiB of floats stays in its cache

// One thread's share of a step.
struct Share {
  std::vector<float> values, back;
  bool finite = true, lossless = true;
  std::uint64_t overflows = 0;
};

void convert_share(const TensorStream& tensor, std::int64_t begin, std::int64_t count, std::byte* out, Share& share) {
  const BlockType& from = *tensor.info->type;
  const BlockType& to = *tensor.to;
  const auto size = static_cast<std::size_t>(count);
  share.values.resize(size);
  from.decode(tensor.bytes.data() + from.row_bytes(static_cast<std::uint64_t>(begin)),
              size / static_cast<std::size_t>(from.block_values), share.values.data());
  if (tensor.add != 0)
    for (float& value : share.values) {
      const float sum = value + tensor.add;
      if (sum - tensor.add != value) share.lossless = false;
      value = sum;
    }
  for (float value : share.values)
    if (!std::isfinite(value)) share.finite = false;
  if (!share.finite) return;
  const std::size_t blocks = size / static_cast<std::size_t>(to.block_values);
  to.encode(share.values.data(), blocks, nullptr, out);
  share.back.resize(size);
  to.decode(out, blocks, share.back.data());
  for (std::size_t i = 0; i < size; ++i) {
    if (share.back[i] != share.values[i]) share.lossless = false;
    if (!std::isfinite(share.back[i])) ++share.overflows;
  }
}

}  // namespace

Result<StreamResult> stream_tensor(const TensorStream& tensor, ThreadPool& pool,
                                   const std::function<Result<void>(std::span<const std::byte>)>& sink,
                                   const std::function<Result<void>()>& step) {
  const TensorInfo& info = *tensor.info;
  StreamResult result;
  if (info.type == tensor.to && tensor.add == 0) {
    constexpr std::size_t kCopy = 16 << 20;
    for (std::size_t at = 0; at < tensor.bytes.size(); at += kCopy) {
      KINGLET_CHECK(sink(tensor.bytes.subspan(at, std::min(kCopy, tensor.bytes.size() - at))));
      KINGLET_CHECK(step());
    }
    return result;
  }
  const std::string quoted = "tensor '" + printable(info.name) + "'";
  if (!info.type->decode || !tensor.to->encode)
    return fail(ErrorCode::kUnsupported,
                quoted + " cannot go from " + std::string(info.type->name) + " to " + std::string(tensor.to->name));
  const std::int64_t whole = std::lcm<std::int64_t>(info.type->block_values, tensor.to->block_values);
  const std::int64_t piece = kPiece / whole * whole;
  std::vector<Share> shares(static_cast<std::size_t>(pool.size()));
  std::vector<std::byte> out;
  for (std::int64_t begin = 0; begin < info.elements(); begin += piece * pool.size()) {
    const std::int64_t count = std::min<std::int64_t>(piece * pool.size(), info.elements() - begin);
    out.resize(tensor.to->row_bytes(static_cast<std::uint64_t>(count)));
    pool.run([&](int thread) {
      const std::int64_t first = std::min<std::int64_t>(count, thread * piece);
      const std::int64_t last = std::min<std::int64_t>(count, first + piece);
      if (first < last)
        convert_share(tensor, begin + first, last - first,
                      out.data() + tensor.to->row_bytes(static_cast<std::uint64_t>(first)),
                      shares[static_cast<std::size_t>(thread)]);
    });
    for (const Share& share : shares)
      if (!share.finite)
        return fail(ErrorCode::kCorrupt, quoted + " holds values that are not finite",
                    "The file is damaged, or its training diverged: such a model gives no answers.");
    KINGLET_CHECK(sink(out));
    KINGLET_CHECK(step());
  }
  for (const Share& share : shares) {
    result.lossless = result.lossless && share.lossless;
    result.overflows += share.overflows;
  }
  return result;
}

}  // namespace kinglet
