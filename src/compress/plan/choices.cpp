#include "compress/plan/choices.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/matrix_sample.h"
#include "compress/plan/sensitivity.h"
#include "kinglet/factors.h"
#include "model/format/gguf.h"

namespace kinglet {
namespace {

constexpr std::string_view kPositions = "position_embd.weight";
constexpr double kCompensated = 0.28;  // of plain rounding's loss is left by error compensation: MiniLM at 2 to 5 bits
constexpr std::int64_t kSampleRows = 16;      // of a matrix: errors of a type differ little between rows
constexpr std::size_t kSampleValues = 32768;  // wide rows need fewer

/// The matrix that a factor belongs to; the tensor itself otherwise.
std::string_view matrix_of(std::string_view tensor) {
  const std::string_view matrix = matrix_of_factor(tensor);
  return matrix.empty() ? tensor : matrix;
}

/// For models that are too large to be run here: what measure_sensitivities gave for SmolLM2-135M (the middle layers).
double role_sensitivity(std::string_view name, bool tied) {
  if (name.starts_with("output.")) return 12;
  if (name.starts_with("token_embd.")) return tied ? 12 : 0.3;
  static constexpr std::pair<std::string_view, double> kKinds[] = {
      {"attn_q", 0.07},   {"attn_k", 0.07}, {"attn_v", 0.4},  {"attn_output", 0.08},
      {"ffn_gate", 0.15}, {"ffn_up", 0.2},  {"ffn_down", 0.5}};
  const std::string kind = matrix_kind(matrix_of(name));
  for (const auto& [each, value] : kKinds)
    if (each == kind) return value;
  return 0.2;
}

bool is_matrix(const TensorInfo& tensor) {
  return tensor.shape.size() >= 2 && tensor.type->decode && matrix_of(tensor.name).ends_with(".weight") &&
         tensor.name != "token_types.weight";
}

double relative_error(const BlockType& type, const std::vector<float>& values) {
  const std::size_t blocks = values.size() / static_cast<std::size_t>(type.block_values);
  std::vector<std::byte> bytes(blocks * static_cast<std::size_t>(type.block_bytes));
  std::vector<float> back(values.size());
  type.encode(values.data(), blocks, nullptr, bytes.data());
  type.decode(bytes.data(), blocks, back.data());
  double error = 0, sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = static_cast<double>(back[i]) - values[i];
    error += difference * difference;
    sum += static_cast<double>(values[i]) * values[i];
  }
  return sum > 0 ? error / sum : 0;
}

/// The form of a type that this tensor could take; null where it is no candidate.
const BlockType* candidate(const BlockType& type, const TensorInfo& tensor, const ChoiceOptions& options) {
  if (type.name == tensor.type->name) return tensor.type;
  if (tensor.name == kPositions && type.name == "F16")
    return tensor.type->bits_per_weight() > type.bits_per_weight() ? &type : nullptr;
  if (!type.encode || !type.decode || type.block_values == 1 || (options.standard_only && type.is_native))
    return nullptr;
  // Tables, of powers or uniform, with one scale a block cost more bytes than trellises of the same error at every
  // size.
  if (options.among.empty() && type.is_native && type.form.codebook) return nullptr;
  const BlockType* fitting = fitting_block_type(type, tensor.columns());
  // Every text reads the table's first rows, and the text that errors are measured on does not reach the last ones.
  const double least = tensor.name == kPositions ? std::max(options.min_bits, 5.0) : options.min_bits;
  if (!fitting || fitting->bits_per_weight() < least) return nullptr;
  return fitting->bits_per_weight() < tensor.type->bits_per_weight() ? fitting : nullptr;
}

/// What candidate() is asked about: where the types are given, those, what the matrices have, and F16 for positions.
std::vector<const BlockType*> offered_types(const Checkpoint& source, const ChoiceOptions& options) {
  if (options.among.empty()) return {block_types().begin(), block_types().end()};
  std::vector<const BlockType*> types = options.among;
  for (const TensorInfo& tensor : source.tensors())
    if (is_matrix(tensor)) types.push_back(tensor.type);
  if (source.find(kPositions)) types.push_back(find_block_type("F16"));
  return types;
}

std::uint64_t padded_bytes(const TensorInfo& tensor, const BlockType& type) {
  const std::uint64_t bytes =
      static_cast<std::uint64_t>(tensor.rows()) * type.row_bytes(static_cast<std::uint64_t>(tensor.columns()));
  return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
}

Result<Sensitivities> sensitivities_of(PassContext& context) {
  auto measured = measure_sensitivities(context);
  if (measured) return measured;
  const ErrorCode code = measured.error().code;
  if (code != ErrorCode::kUnsupported && code != ErrorCode::kExhausted && code != ErrorCode::kInvalidArgument)
    return measured;
  if (context.note) context.note("planning by the kind of matrix alone: " + measured.error().message);
  return Sensitivities();
}

}  // namespace

Result<std::vector<TensorChoices>> list_choices(PassContext& context, const ChoiceOptions& options) {
  const Checkpoint& source = *context.source;
  // An encoder's embedding is looked up and multiplies nothing.
  const bool encoder = is_encoder(source), tied = source.find("output.weight") == nullptr && !encoder;
  KINGLET_TRY(const Sensitivities measured, sensitivities_of(context));
  std::vector<TensorChoices> all;
  std::vector<const TensorInfo*> infos;
  for (const TensorInfo& tensor : source.tensors())
    if (is_matrix(tensor)) infos.push_back(&tensor);
  all.resize(infos.size());
  const std::vector<const BlockType*> offered = offered_types(source, options);
  std::vector<Result<void>> states(infos.size());
  const auto work = [&](std::size_t i) -> Result<void> {
    const TensorInfo& tensor = *infos[i];
    KINGLET_TRY(const std::vector<float> values, sample_matrix(source, tensor, kSampleValues, kSampleRows));
    TensorChoices& entry = all[i];
    entry.name = tensor.name;
    entry.elements = tensor.elements();
    auto known = measured.find(tensor.name);  // a group of rows has a value of its own, a factor that of its product
    if (known == measured.end()) known = measured.find(std::string(matrix_of(tensor.name)));
    double sensitivity = known != measured.end() ? known->second : role_sensitivity(tensor.name, tied);
    if (encoder && options.compensated && tensor.name.starts_with("blk.")) sensitivity *= kCompensated;
    for (const BlockType* each : offered) {
      const BlockType* type = candidate(*each, tensor, options);
      const bool twice = std::any_of(entry.choices.begin(), entry.choices.end(),
                                     [&](const Choice& choice) { return choice.type == type; });
      if (!type || twice) continue;
      const double error = type == tensor.type ? 0 : relative_error(*type, values);
      entry.choices.push_back({type, padded_bytes(tensor, *type), error * sensitivity});
    }
    std::sort(entry.choices.begin(), entry.choices.end(), [](const Choice& a, const Choice& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.type->name < b.type->name;
    });
    return {};
  };
  const int threads = context.pool->size();
  for (std::size_t begin = 0; begin < infos.size(); begin += static_cast<std::size_t>(threads)) {
    if (context.cancelled && context.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    if (context.progress) context.progress(static_cast<double>(begin) / static_cast<double>(infos.size()));
    context.pool->run([&](int thread) {
      const std::size_t i = begin + static_cast<std::size_t>(thread);
      if (i < infos.size()) states[i] = work(i);
    });
  }
  for (const Result<void>& state : states) KINGLET_CHECK(Result<void>(state));
  return all;
}

}  // namespace kinglet
