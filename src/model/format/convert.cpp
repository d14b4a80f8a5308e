// Which type each tensor gets, and the way into GGUF.
#include "kinglet/convert.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/thread_pool.h"
#include "base/try.h"
#include "model/format/convert_parts.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"
#include "tensor/codec/float_codec.h"

namespace kinglet {
namespace {

bool is_integer_type(const BlockType& type) {
  return type.name == "I8" || type.name == "I16" || type.name == "I32" || type.name == "I64";
}
bool is_float_type(const BlockType& type) { return type.block_values == 1 && !is_integer_type(type); }

// Tables that are looked up and never multiplied: too small to gain from blocks.
bool is_lookup(const TensorInfo& tensor) {
  return tensor.name == "position_embd.weight" || tensor.name == "token_types.weight";
}

// general.file_type, which other tools show: ggml's number of the type that most matrices have.
int file_type(std::string_view name) {
  constexpr std::pair<std::string_view, int> kNumbers[] = {
      {"F32", 0},   {"F16", 1},   {"Q4_0", 2},  {"Q4_1", 3},  {"Q8_0", 7},    {"Q5_0", 8},    {"Q5_1", 9}, {"Q2_K", 10},
      {"Q3_K", 12}, {"Q4_K", 15}, {"Q5_K", 17}, {"Q6_K", 18}, {"IQ4_NL", 25}, {"IQ4_XS", 30}, {"BF16", 32}};
  for (const auto& [type, number] : kNumbers)
    if (type == name) return number;
  return -1;
}

Result<const BlockType*> asked_type(const std::string& name) {
  if (name.empty()) return nullptr;
  const BlockType* type = find_block_type(name);
  if (type && type->encode && !is_integer_type(*type) && type->name != "F64") return type;
  std::string known;
  for (const BlockType* each : block_types())
    if (each->encode && !is_integer_type(*each) && each->name != "F64")
      known += (known.empty() ? "" : ", ") + std::string(each->name);
  return fail(ErrorCode::kInvalidArgument,
              type ? "the type " + std::string(type->name) + " can be read but not written"
                   : "there is no type '" + printable(name) + "'",
              "Types: " + known + ".");
}

}  // namespace

BitCounts count_bits(std::span<const TensorInfo> tensors) {
  double bits = 0, layer_bits = 0, layer_parameters = 0;
  BitCounts counts;
  for (const TensorInfo& tensor : tensors) {
    counts.parameters += static_cast<std::uint64_t>(tensor.elements());
    bits += 8.0 * static_cast<double>(tensor.file_bytes());
    if (!tensor.name.starts_with("blk.")) continue;
    layer_bits += 8.0 * static_cast<double>(tensor.file_bytes());
    layer_parameters += static_cast<double>(tensor.elements());
  }
  if (counts.parameters > 0) counts.bits_per_weight = bits / static_cast<double>(counts.parameters);
  if (layer_parameters > 0) counts.layer_bits_per_weight = layer_bits / layer_parameters;
  return counts;
}

const BlockType* converted_type(const TensorInfo& tensor, const BlockType& type) {
  if (is_integer_type(*tensor.type) || !tensor.type->decode) return tensor.type;
  if (tensor.shape.size() < 2) return find_block_type("F32");
  if (is_lookup(tensor) && type.block_values > 1) return tensor.type->block_values == 1 ? tensor.type : &type;
  if (const BlockType* fitting = fitting_block_type(type, tensor.columns())) return fitting;
  const BlockType* best = find_block_type("F16");
  for (const BlockType* each : block_types())
    if (each->encode && !each->is_native && !is_integer_type(*each) && tensor.columns() % each->block_values == 0 &&
        each->bits_per_weight() >= type.bits_per_weight() && each->bits_per_weight() < best->bits_per_weight())
      best = each;
  return best;
}

std::vector<PlannedTensor> plan_tensors(const Checkpoint& from, const BlockType* type) {
  std::vector<PlannedTensor> plans;
  for (const TensorInfo& tensor : from.tensors()) {
    const BlockType* to = tensor.type;
    if (type)
      to = converted_type(tensor, *type);
    else if (tensor.shape.size() < 2 && is_float_type(*tensor.type))
      to = find_block_type("F32");
    plans.push_back({&tensor, to});
  }
  return plans;
}

void note_fallbacks(const std::vector<PlannedTensor>& plans, const BlockType* type, std::vector<std::string>& notes) {
  if (!type) return;
  std::vector<std::pair<const BlockType*, std::pair<int, std::string>>> counts;
  for (const PlannedTensor& plan : plans) {
    if (plan.info->shape.size() < 2 || is_lookup(*plan.info) || plan.to->name == type->name ||
        is_integer_type(*plan.to))
      continue;
    auto found = std::find_if(counts.begin(), counts.end(), [&](const auto& entry) { return entry.first == plan.to; });
    if (found == counts.end()) found = counts.insert(counts.end(), {plan.to, {0, plan.info->name}});
    ++found->second.first;
  }
  for (const auto& [to, entry] : counts)
    notes.push_back(std::to_string(entry.first) + " matrices with rows that are not whole blocks of " +
                    std::string(type->name) + " (" + std::to_string(type->block_values) + " values) became " +
                    std::string(to->name) + ", the first " + printable(entry.second));
}

ConvertProgress::ConvertProgress(const Checkpoint& from, const ConvertOptions& options) : options_(options) {
  for (const TensorInfo& tensor : from.tensors()) total_ += tensor.bytes;
}

Result<void> ConvertProgress::advance(std::uint64_t done_in_tensor) {
  if (options_.progress) options_.progress(std::min(total_, finished_ + done_in_tensor), total_);
  if (options_.cancelled && options_.cancelled())
    return fail(ErrorCode::kCancelled, "interrupted; nothing was written");
  return {};
}

namespace {

FloatKind kind_of(const BlockType& type) { return type.name == "BF16" ? FloatKind::kBfloat16 : FloatKind::kFloat16; }

std::span<const std::uint16_t> numbers_in(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint16_t*>(bytes.data()), bytes.size() / sizeof(std::uint16_t)};
}

}  // namespace

Result<ConvertedTensor> converted_tensor(const Checkpoint& from, const TensorInfo& info, const BlockType& to,
                                         ThreadPool& pool) {
  KINGLET_TRY(const TensorData data, from.data(info));
  ConvertedTensor made;
  const auto keep = [&](std::span<const std::byte> piece) -> Result<void> {
    made.bytes.insert(made.bytes.end(), piece.begin(), piece.end());
    return {};
  };
  KINGLET_TRY(const StreamResult result,
              stream_tensor({&info, data.bytes, &to, 0}, pool, keep, [] { return Result<void>(); }));
  made.lossless = result.lossless;
  from.release(info, 0, info.bytes);
  return made;
}

FloatCodeSize float_code_size(const BlockType& type, std::span<const std::byte> bytes) {
  return float_code_size(kind_of(type), numbers_in(bytes));
}

Result<std::vector<std::byte>> encode_floats(const BlockType& type, std::span<const std::byte> bytes) {
  return encode_floats(kind_of(type), numbers_in(bytes));
}

Result<void> write_tensors(const Checkpoint& from, const std::vector<WrittenTensor>& tensors, ThreadPool& pool,
                           ConvertProgress& progress, ConvertReport& report,
                           const std::function<Result<void>(std::span<const std::byte>)>& sink) {
  for (const WrittenTensor& tensor : tensors) {
    const TensorInfo& info = *tensor.info;
    KINGLET_TRY(TensorData data, from.data(info));
    std::vector<std::byte> permuted;
    TensorStream stream{&info, data.bytes, tensor.to, tensor.add};
    if (tensor.heads > 0) {
      permuted.resize(data.bytes.size());
      permute_heads(data.bytes, permuted, info.shape.front(), tensor.heads, true);
      stream.bytes = permuted;
    }
    std::uint64_t written = 0;
    const std::uint64_t whole =
        std::max<std::uint64_t>(1, tensor.to->row_bytes(static_cast<std::uint64_t>(info.elements())));
    const auto counted = [&](std::span<const std::byte> bytes) {
      written += bytes.size();
      return sink(bytes);
    };
    const auto step = [&] {
      return progress.advance(static_cast<std::uint64_t>(static_cast<double>(info.bytes) *
                                                         (static_cast<double>(written) / static_cast<double>(whole))));
    };
    std::vector<std::byte> whole_tensor;
    const auto collected = [&](std::span<const std::byte> bytes) -> Result<void> {
      written += bytes.size();
      whole_tensor.insert(whole_tensor.end(), bytes.begin(), bytes.end());
      return {};
    };
    const bool coded = !tensor.codec.empty();
    KINGLET_TRY(const StreamResult result,
                coded ? stream_tensor(stream, pool, collected, step) : stream_tensor(stream, pool, counted, step));
    if (coded) {
      KINGLET_TRY(const auto code, encode_floats(*tensor.to, whole_tensor));
      KINGLET_CHECK(sink(code));
    }
    if (!result.lossless) report.lossless = false;
    if (result.overflows > 0)
      report.notes.push_back(std::to_string(result.overflows) + " values of " + printable(info.name) +
                             " are too large for " + std::string(tensor.to->name) + ": take bf16 or f32");
    progress.finish_tensor(info.bytes);
    from.release(info, 0, info.bytes);
  }
  return {};
}

namespace {

// Finds what coding would give: sizes must be known before the first tensor is written. The tensors are coded again
// then, so that only one is in memory at a time.
Result<void> plan_codes(const Checkpoint& from, ThreadPool& pool, std::vector<WrittenTensor>& tensors,
                        std::vector<GgufWriter::Plan>& plans, ConvertReport& report) {
  std::uint64_t plain = 0, coded = 0;
  double bound = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const char* codec = float_codec(*tensors[i].to);
    const TensorInfo& info = *tensors[i].info;
    if (!codec || info.shape.size() < 2) continue;
    KINGLET_TRY(const ConvertedTensor whole, converted_tensor(from, info, *tensors[i].to, pool));
    const std::vector<std::byte>& bytes = whole.bytes;
    const FloatCodeSize size = float_code_size(*tensors[i].to, bytes);
    if (size.bytes >= bytes.size()) continue;
    tensors[i].codec = plans[i].codec = codec;
    plans[i].stored_bytes = size.bytes;
    plain += bytes.size();
    coded += size.bytes;
    bound += static_cast<double>(bytes.size() / 2) * (8 + size.entropy_bits) / 8;
  }
  if (coded == 0) {
    report.notes.push_back("there is nothing to code without loss: that needs bf16 or f16 matrices (--type bf16)");
    return {};
  }
  char text[160];
  std::snprintf(text, sizeof text, "coded matrices take %.2f %% of %llu bytes (%.2f %% of what their entropy allows)",
                100.0 * static_cast<double>(coded) / static_cast<double>(plain), static_cast<unsigned long long>(plain),
                100.0 * static_cast<double>(coded) / bound);
  report.notes.push_back(text);
  return {};
}

Result<ConvertReport> convert_to_gguf(const Checkpoint& from, const std::string& output, const BlockType* type,
                                      const ConvertOptions& options) {
  ConvertReport report;
  Metadata metadata = from.metadata();
  add_gguf_tokenizer(from, metadata, report.notes);
  const std::vector<PlannedTensor> plans = plan_tensors(from, type);
  note_fallbacks(plans, type, report.notes);
  std::vector<GgufWriter::Plan> writer_plans;
  std::vector<WrittenTensor> tensors;
  std::vector<TensorInfo> infos;
  bool blocks = false;
  for (const PlannedTensor& plan : plans) {
    writer_plans.push_back({plan.info->name, plan.to, plan.info->shape});
    tensors.push_back({plan.info, plan.to, 0, 0});
    TensorInfo info = *plan.info;
    info.bytes = plan.to->row_bytes(static_cast<std::uint64_t>(info.elements()));
    infos.push_back(std::move(info));
    blocks = blocks || plan.to->block_values > 1;
  }
  if (type && file_type(type->name) >= 0) metadata.set_integer("general.file_type", file_type(type->name));
  if (type && file_type(type->name) < 0) metadata.erase("general.file_type");
  if (type && blocks) metadata.set_integer("general.quantization_version", 2);
  ThreadPool pool(options.threads);
  if (options.lossless) KINGLET_CHECK(plan_codes(from, pool, tensors, writer_plans, report));
  for (std::size_t i = 0; i < infos.size(); ++i) {
    infos[i].codec = writer_plans[i].codec;
    infos[i].stored_bytes = writer_plans[i].stored_bytes;
  }
  report.bytes = GgufWriter::predicted_bytes(metadata, writer_plans);
  auto created = GgufWriter::create(output, metadata, writer_plans);
  if (!created) {
    Error error = std::move(created).error();
    if (error.code == ErrorCode::kNotFound) error.hint = "Make the folder first.";
    return tl::unexpected(std::move(error));
  }
  const auto writer = std::move(*created);
  ConvertProgress progress(from, options);
  KINGLET_CHECK(write_tensors(from, tensors, pool, progress, report,
                              [&](std::span<const std::byte> bytes) { return writer->write(bytes); }));
  KINGLET_CHECK(writer->finish());
  const BitCounts counts = count_bits(infos);
  report.output = output;
  report.parameters = counts.parameters;
  report.bits_per_weight = counts.bits_per_weight;
  report.layer_bits_per_weight = counts.layer_bits_per_weight;
  return report;
}

}  // namespace

Result<ConvertReport> convert_checkpoint(const Checkpoint& from, const std::string& output,
                                         const ConvertOptions& options) {
  KINGLET_TRY(const BlockType* type, asked_type(options.type));
  if (output.empty()) return fail(ErrorCode::kInvalidArgument, "no output is named", "Give it with -o OUT.");
  if (options.format == "gguf") return convert_to_gguf(from, output, type, options);
  if (options.format == "safetensors") return convert_to_hugging_face(from, output, type, options);
  return fail(ErrorCode::kInvalidArgument, "there is no format '" + printable(options.format) + "' to write",
              "Formats: gguf, safetensors.");
}

}  // namespace kinglet
