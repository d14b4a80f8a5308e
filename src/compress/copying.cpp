// What most passes share: the usual blocks, a plan that copies, plain rounding, digests.
#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "base/size.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "kinglet/pass.h"
#include "model/format/convert_parts.h"
#include "model/format/gguf.h"
#include "model/format/tensor_stream.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

/// i of "blk.i.", -1 otherwise.
std::int64_t layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return -1;
  const std::size_t dot = name.find('.', 4);
  std::int64_t layer = -1;
  if (dot == std::string_view::npos || !parse_integer(name.substr(4, dot - 4), layer) || layer < 0) return -1;
  return std::min<std::int64_t>(layer, limits::kLayers);
}

}  // namespace

std::uint64_t PassPlan::Tensor::bytes() const {
  if (!codec.empty()) return stored_bytes;
  std::uint64_t rows = 1;
  for (std::size_t d = 0; d + 1 < shape.size(); ++d) rows *= static_cast<std::uint64_t>(shape[d]);
  return rows * type->row_bytes(static_cast<std::uint64_t>(shape.back()));
}

std::int64_t PassPlan::Tensor::elements() const {
  std::int64_t count = 1;
  for (std::int64_t size : shape) count *= size;
  return count;
}

Result<void> TensorSink::put(std::string_view name, std::span<const std::byte> bytes) {
  KINGLET_CHECK(begin(name));
  KINGLET_CHECK(write(bytes));
  return end();
}

int layer_count(const Checkpoint& checkpoint) {
  std::int64_t layers = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) layers = std::max(layers, layer_of(tensor.name) + 1);
  return static_cast<int>(layers);
}

int tensor_block(std::string_view name, int layers) {
  const std::int64_t layer = layer_of(name);
  if (layer >= 0) return static_cast<int>(layer) + 1;
  return name.starts_with("output") || name.starts_with("cls") ? layers + 1 : 0;
}

Result<PassPlan> copying_plan(const PassContext& context) {
  const Checkpoint& source = *context.source;
  PassPlan plan;
  plan.metadata = source.metadata();
  add_gguf_tokenizer(source, plan.metadata, plan.notes);
  // Where the file came from; that of a model which was shrunk before stays.
  if (!plan.metadata.contains("kinglet.source.sha256") && !context.source_digest.empty())
    plan.metadata.set_string("kinglet.source.sha256", context.source_digest);
  const int layers = layer_count(source);
  plan.blocks = layers + 2;
  for (const PlannedTensor& tensor : plan_tensors(source, nullptr))
    plan.tensors.push_back(
        {tensor.info->name, tensor.to, tensor.info->shape, tensor_block(tensor.info->name, layers), {}, 0});
  return plan;
}

Result<void> copy_tensor(PassContext& context, const PassPlan::Tensor& tensor, TensorSink& sink) {
  const TensorInfo* info = context.source->find(tensor.name);
  if (!info || info->shape != tensor.shape)
    return fail(ErrorCode::kInternal, "the source has no '" + printable(tensor.name) + "' of this shape");
  if (sink.finished(tensor.name)) return {};
  KINGLET_TRY(const TensorData data, context.source->data(*info));
  KINGLET_CHECK(sink.begin(tensor.name));
  TensorStream stream;
  stream.info = info;
  stream.bytes = data.bytes;
  stream.to = tensor.type;
  std::uint64_t written = 0, released = 0;
  const auto write = [&](std::span<const std::byte> bytes) {
    written += bytes.size();
    return sink.write(bytes);
  };
  const auto step = [&]() -> Result<void> {
    if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    const double share = static_cast<double>(written) / static_cast<double>(tensor.bytes());
    const std::uint64_t read =
        std::min(info->bytes, static_cast<std::uint64_t>(share * static_cast<double>(info->bytes)));
    context.source->release(*info, std::exchange(released, read), read);
    return {};
  };
  KINGLET_CHECK(stream_tensor(stream, *context.pool, write, step));
  context.source->release(*info, 0, info->bytes);
  return sink.end();
}

std::uint64_t streaming_memory(const ThreadPool& pool) {
  constexpr std::uint64_t kProgram = 80 << 20, kThread = 4 << 20;  // stream_tensor's pieces: values, read back, written
  return kProgram + kThread * static_cast<std::uint64_t>(pool.size());
}

Result<std::string> checkpoint_digest(const Checkpoint& checkpoint, const std::function<bool(std::uint64_t)>& go_on) {
  const std::string path(checkpoint.path());
  if (checkpoint.format() == "gguf" && file_exists(path)) {
    KINGLET_TRY(const std::uint64_t size, file_size(path));
    if (size == checkpoint.file_bytes()) {
      KINGLET_TRY(const Digest digest, sha256_file(path, go_on));
      return digest.hex();
    }
  }
  Sha256 hash;
  std::vector<GgufWriter::Plan> plans;
  for (const TensorInfo& tensor : checkpoint.tensors()) plans.push_back({tensor.name, tensor.type, tensor.shape});
  hash.update(gguf_header(checkpoint.metadata(), plans, kGgufAlignment));
  std::uint64_t done = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    KINGLET_TRY(const TensorData data, checkpoint.data(tensor));
    constexpr std::size_t kPiece = 16 << 20;
    for (std::size_t at = 0; at < data.bytes.size(); at += kPiece) {
      const std::size_t size = std::min(kPiece, data.bytes.size() - at);
      hash.update(data.bytes.subspan(at, size));
      checkpoint.release(tensor, at, at + size);
      done += size;
      if (go_on && !go_on(done)) return fail(ErrorCode::kCancelled, "interrupted");
    }
  }
  return hash.finish().hex();
}

}  // namespace kinglet
