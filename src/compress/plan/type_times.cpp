#include "compress/plan/type_times.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/aligned_memory.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/memory_checkpoint.h"
#include "compress/workbench.h"
#include "decode/prompt.h"
#include "kinglet/measure.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

constexpr int kRounds = 9;
constexpr std::int64_t kMostWeights = 8 << 20;    // of one timed matrix: milliseconds
constexpr std::uint64_t kMostOthers = 256 << 20;  // above any cache
constexpr std::int64_t kPatternRows = 16;         // encoded once and repeated: times do not depend on values

/// A matrix that is timed.
struct TimedMatrix {
  std::unique_ptr<PackedMatrix> matrix;
  std::int64_t rows = 0, columns = 0;
  double best = 0;
};

/// The blocks of a matrix of that type: a few rows again and again.
std::vector<std::byte> pattern_blocks(const BlockType& type, std::int64_t rows, std::int64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(kPatternRows * columns));
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-36f;
  }
  const std::uint64_t row_bytes = type.row_bytes(static_cast<std::uint64_t>(columns));
  std::vector<std::byte> pattern(row_bytes * static_cast<std::uint64_t>(kPatternRows)), bytes;
  type.encode(values.data(), values.size() / static_cast<std::size_t>(type.block_values), nullptr, pattern.data());
  bytes.reserve(row_bytes * static_cast<std::uint64_t>(rows + kPatternRows));
  for (std::int64_t row = 0; row < rows; row += kPatternRows) bytes.insert(bytes.end(), pattern.begin(), pattern.end());
  bytes.resize(row_bytes * static_cast<std::uint64_t>(rows));
  return bytes;
}

Result<TimedMatrix> make_timed(const BlockType& type, std::int64_t columns, std::int64_t weights) {
  TimedMatrix subject;
  subject.columns = columns;
  subject.rows = std::max<std::int64_t>(1, weights / columns / kPatternRows) * kPatternRows;
  auto blocks = own_bytes(pattern_blocks(type, subject.rows, columns));
  KINGLET_TRY(subject.matrix, pack_matrix(type, {subject.rows, columns}, std::move(blocks)));
  return subject;
}

/// Memory that is read between two timings, so that a matrix is no more in the cache than within its model.
class OtherMemory {
 public:
  static Result<OtherMemory> create(std::uint64_t bytes) {
    OtherMemory others;
    KINGLET_TRY(others.memory_, AlignedMemory::allocate(bytes));
    std::memset(others.memory_.data(), 1, others.memory_.size());  // pages of their own
    return others;
  }
  std::uint64_t size() const { return memory_.size(); }
  void read(ThreadPool& pool) const {
    const auto words = static_cast<std::int64_t>(memory_.size() / sizeof(std::uint64_t));
    const auto* from = reinterpret_cast<const std::uint64_t*>(memory_.data());
    pool.run([&](int thread) {
      const WorkShare share = work_share(words, thread, pool.size());
      std::uint64_t sum = 0;
      for (std::int64_t i = share.begin; i < share.end; ++i) sum += from[i];
      volatile std::uint64_t kept = sum;
      (void)kept;
    });
  }

 private:
  AlignedMemory memory_;
};

double time_once(const TimedMatrix& subject, const LinearInput& x, std::vector<float>& y, ThreadPool& pool) {
  const Linear& linear = *subject.matrix->linear;
  y.resize(static_cast<std::size_t>(linear.outputs()));
  const auto start = std::chrono::steady_clock::now();
  pool.run([&](int thread) {
    const WorkShare share = work_share(linear.tiles(), thread, pool.size());
    if (share.begin < share.end) linear.multiply(0, x, {share.begin, share.end}, y.data(), y.size());
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void TypeTimes::want(const BlockType& type, std::int64_t columns, std::int64_t weights) {
  Entry& entry = entries_[{std::string(type.name), columns}];
  entry.weights = std::max(entry.weights, weights);
}

Result<void> TypeTimes::measure(ThreadPool& pool, std::uint64_t memory, std::uint64_t model_bytes) {
  KINGLET_TRY(const OtherMemory others, OtherMemory::create(std::min({model_bytes, memory / 2, kMostOthers})));
  memory -= others.size();
  std::vector<TimedMatrix> subjects;
  std::int64_t widest = 32;
  const std::uint64_t each = memory / std::max<std::size_t>(1, entries_.size()) / sizeof(float);
  for (auto& [key, entry] : entries_) {
    const std::int64_t weights = std::min({entry.weights, kMostWeights, static_cast<std::int64_t>(each)});
    const BlockType* type = fitting_block_type(*find_block_type(key.first), key.second);
    if (!type) return fail(ErrorCode::kInternal, key.first + " does not fit rows of " + std::to_string(key.second));
    if (!type->encode) return fail(ErrorCode::kUnsupported, key.first + " can be read but not written, so not timed");
    KINGLET_TRY(TimedMatrix subject, make_timed(*type, key.second, weights));
    subjects.push_back(std::move(subject));
    widest = std::max(widest, key.second);
  }
  std::vector<float> values(static_cast<std::size_t>(widest), 0.5f), y;
  std::vector<std::byte> quantized(quantized_row_bytes((widest + 31) / 32 * 32));
  for (int round = 0; round < kRounds; ++round) {
    for (TimedMatrix& subject : subjects) {
      LinearInput x{.values = values.data(), .value_stride = values.size(), .rows = 1};
      if (subject.matrix->linear->input_format() == InputFormat::kInt8) {
        quantize_row(values.data(), subject.columns, quantized.data());
        x.quantized = quantized.data();
        x.quantized_stride = quantized.size();
      }
      others.read(pool);
      const double seconds = time_once(subject, x, y, pool);
      if (round == 1 || (round > 1 && seconds < subject.best)) subject.best = seconds;  // the first warms up
    }
  }
  std::size_t at = 0;
  for (auto& [key, entry] : entries_) {
    const TimedMatrix& subject = subjects[at++];
    entry.seconds = subject.best / static_cast<double>(subject.rows * subject.columns);
  }
  return {};
}

double TypeTimes::seconds(const BlockType& type, std::int64_t rows, std::int64_t columns) const {
  const auto found = entries_.find({std::string(type.name), columns});
  return found == entries_.end() ? 0 : found->second.seconds * static_cast<double>(rows * columns);
}

std::string TypeTimes::text() const {
  auto value = nlohmann::ordered_json::array();
  for (const auto& [key, entry] : entries_)
    value.push_back({{"type", key.first}, {"columns", key.second}, {"picoseconds_a_weight", entry.seconds * 1e12}});
  return dump_json(value, 1);
}

Result<TypeTimes> TypeTimes::parse(std::string_view text, const std::string& place) {
  KINGLET_TRY(const auto value, parse_json(text, place));
  TypeTimes times;
  if (!value.is_array()) return fail(ErrorCode::kCorrupt, "expected a list", "", place);
  for (const auto& entry : value) {
    if (!entry.is_object() || !entry.contains("type") || !entry["type"].is_string() || !entry.contains("columns") ||
        !entry["columns"].is_number_integer())
      return fail(ErrorCode::kCorrupt, "expected types with their times", "", place);
    times.entries_[{entry["type"].get<std::string>(), entry["columns"].get<std::int64_t>()}].seconds =
        entry.value("picoseconds_a_weight", 0.0) * 1e-12;
  }
  return times;
}

bool multiplied_a_token(std::string_view name, bool tied) {
  return (name.starts_with("blk.") && name.ends_with(".weight")) || name == "output.weight" ||
         (tied && name == "token_embd.weight");
}

double SpeedModel::matrices(const TypeTimes& times, std::span<const TensorInfo> tensors) {
  const bool tied = std::none_of(tensors.begin(), tensors.end(),
                                 [](const TensorInfo& tensor) { return tensor.name == "output.weight"; });
  double sum = 0;
  for (const TensorInfo& tensor : tensors)
    if (tensor.shape.size() >= 2 && multiplied_a_token(tensor.name, tied)) sum += times.seconds(tensor);
  return sum;
}

double SpeedModel::seconds(std::span<const TensorInfo> tensors) const {
  return other_seconds + scale * matrices(times, tensors);
}

namespace {

/// Seconds a decoded token, undisturbed: the best of some runs. The model is loaded as for any use, its matrices packed
/// one after the other: on pages of their own, as a workbench has them, they take a fifth longer.
Result<double> decode_seconds(const Checkpoint& checkpoint, int threads) {
  KINGLET_TRY(const auto model, Model::load(std::make_unique<BorrowedCheckpoint>(checkpoint), {.threads = threads}));
  KINGLET_CHECK(check_generates(*model));
  KINGLET_TRY(const auto engine, Engine::create(model, {.context = 512}));
  SpeedMeter meter(*engine);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    KINGLET_TRY(const double speed, meter.run({SpeedTest::Kind::kDecode, 0, "decode"}));
    best = std::max(best, speed);
  }
  return 1 / best;
}

/// The type of the second point; the smallest that fits any row of whole blocks of 32.
const BlockType* small_type(std::int64_t columns) { return fitting_block_type(*find_block_type("K2"), columns); }

}  // namespace

Result<SpeedModel> measure_speed_model(const PassContext& context, TypeTimes wanted) {
  const Checkpoint& source = *context.source;
  if (2 * source.file_bytes() > context.memory_bytes)
    return fail(ErrorCode::kExhausted, "the model is too large for the memory budget to be run");
  SpeedModel model;
  model.times = std::move(wanted);
  const bool tied = source.find("output.weight") == nullptr;
  MemoryCheckpoint small(source.metadata());
  std::uint64_t matrix_bytes = 0;
  for (const TensorInfo& tensor : source.tensors()) {
    const bool timed = tensor.shape.size() >= 2 && multiplied_a_token(tensor.name, tied);
    const BlockType* type = timed ? small_type(tensor.columns()) : nullptr;
    if (timed) matrix_bytes += tensor.bytes;
    if (timed) model.times.want(*tensor.type, tensor.columns(), kMostWeights);
    if (type != nullptr) {
      model.times.want(*type, tensor.columns(), kMostWeights);
      small.add(tensor.name, *type, tensor.shape, own_bytes(pattern_blocks(*type, tensor.rows(), tensor.columns())));
    } else {
      KINGLET_TRY(TensorData data, source.data(tensor));
      small.add(tensor.name, *tensor.type, tensor.shape, std::move(data));
    }
  }
  KINGLET_CHECK(
      model.times.measure(*context.pool, std::min<std::uint64_t>(context.memory_bytes / 4, 512 << 20), matrix_bytes));
  KINGLET_TRY(model.source_seconds, decode_seconds(source, context.pool->size()));
  KINGLET_TRY(const double small_seconds, decode_seconds(small, context.pool->size()));
  const double before = SpeedModel::matrices(model.times, source.tensors());
  const double after = SpeedModel::matrices(model.times, small.tensors());
  // Within a model matrices follow each other without a start of their own, and wait for each other.
  if (before > after) model.scale = std::max(0.5, (model.source_seconds - small_seconds) / (before - after));
  if (before > 0) model.scale = std::min(model.scale, model.source_seconds / before);
  model.other_seconds = std::max(0.0, model.source_seconds - model.scale * before);
  return model;
}

}  // namespace kinglet
