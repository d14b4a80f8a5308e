#include "compress/plan/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/memory_checkpoint.h"
#include "compress/workbench.h"
#include "decode/softmax.h"
#include "kinglet/factors.h"
#include "kinglet/linear.h"
#include "kinglet/measure.h"
#include "measure/embedding.h"

namespace kinglet {
namespace {

constexpr double kError = 0.01;  // relative squared: about what 3.5 bits cost, where answers still react linearly
constexpr std::size_t kTokens = 384, kWindow = 96;
constexpr std::size_t kEmbeddedTokens = 4096;  // an embedding is one answer for a whole text
constexpr std::size_t kSkipped = 8;            // predictions from almost nothing are noise
constexpr std::uint64_t kMostCache = 16 << 20;

/// Uniform in [-1, 1) from a counter (SplitMix64).
float noise(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return static_cast<float>(static_cast<double>(z >> 11) * 0x1p-52 - 1);
}

struct Blocks {
  const BlockType* type;
  std::vector<std::byte> bytes;
};

/// A tensor with random errors of the given relative size in every row.
Result<Blocks> disturbed(const Checkpoint& source, const TensorInfo& info, double error, std::uint64_t seed,
                         ThreadPool& pool) {
  const auto columns = static_cast<std::size_t>(info.columns());
  const BlockType& to = *find_block_type(columns % 32 == 0 ? "Q8_0" : "BF16");
  KINGLET_TRY(const TensorData data, source.data(info));
  const std::uint64_t row_bytes = to.row_bytes(columns);
  std::vector<std::byte> bytes(static_cast<std::uint64_t>(info.rows()) * row_bytes);
  const double scale = std::sqrt(3 * error);  // a uniform number has a mean square of a third
  pool.run([&](int thread) {
    std::vector<float> row(columns);
    const WorkShare share = work_share(info.rows(), thread, pool.size());
    for (std::int64_t r = share.begin; r < share.end; ++r) {
      info.type->decode(data.bytes.data() + static_cast<std::uint64_t>(r) * info.type->row_bytes(columns),
                        columns / static_cast<std::size_t>(info.type->block_values), row.data());
      double squares = 0;
      for (float value : row) squares += static_cast<double>(value) * value;
      const auto size = static_cast<float>(scale * std::sqrt(squares / static_cast<double>(columns)));
      for (std::size_t i = 0; i < columns; ++i)
        row[i] += size * noise(seed, static_cast<std::uint64_t>(r) * columns + i);
      to.encode(row.data(), columns / static_cast<std::size_t>(to.block_values), nullptr,
                bytes.data() + static_cast<std::uint64_t>(r) * row_bytes);
    }
  });
  return Blocks{&to, std::move(bytes)};
}

/// The matrix that a group of rows is of; itself otherwise.
std::string whole_matrix(const std::string& name) {
  const std::string_view whole = matrix_of_factor(name);
  return whole.empty() ? name : std::string(whole);
}

/// The same for a matrix; of one that is a product, the last factor, whose rows are the matrix's, gets the errors, and
/// of one in groups of rows the group that is named ("token_embd.weight.0").
Result<std::unique_ptr<PackedMatrix>> disturbed_matrix(const Checkpoint& source, const std::string& name, double error,
                                                       std::uint64_t seed, ThreadPool& pool) {
  const std::string matrix = whole_matrix(name);
  KINGLET_TRY(const auto factored, find_factored(source.metadata(), matrix));
  std::vector<const TensorInfo*> tensors;
  if (factored) tensors = factors_of(source, *factored);
  if (!factored) tensors.push_back(source.find(name));
  if (tensors.empty()) return fail(ErrorCode::kCorrupt, name + " has no factors");
  MemoryCheckpoint checkpoint(source.metadata());
  for (const TensorInfo* tensor : tensors) {
    if (matrix == name ? tensor != tensors.back() : tensor->name != name) {
      KINGLET_TRY(TensorData data, source.data(*tensor));
      checkpoint.add(tensor->name, *tensor->type, tensor->shape, std::move(data));
      continue;
    }
    KINGLET_TRY(Blocks blocks, disturbed(source, *tensor, error, seed, pool));
    checkpoint.add(tensor->name, *blocks.type, tensor->shape, own_bytes(std::move(blocks.bytes)));
  }
  return pack_matrix(checkpoint, matrix);
}

/// The groups of rows that a matrix is stored in; itself otherwise.
std::vector<std::string> groups_of(const Checkpoint& source, const std::string& name) {
  const auto factored = find_factored(source.metadata(), name);
  if (!factored || !*factored || factor_form(**factored) != FactorForm::kRows) return {name};
  std::vector<std::string> names;
  for (const TensorInfo* factor : factors_of(source, **factored))
    if (factor->shape.size() == 2) names.push_back(factor->name);
  return names;
}

class Meter {
 public:
  Meter(PassContext& context, Workbench& bench) : context_(context), bench_(bench) {}

  Result<void> prepare() {
    const Tokenizer& tokenizer = bench_.model().tokenizer();
    if (generates()) {
      KINGLET_TRY(windows_, calibration_windows(tokenizer, context_.text, {.tokens = kTokens, .window = kWindow}));
      return read(reference_);
    }
    const CalibrationOptions how{.tokens = kEmbeddedTokens, .window = kWindow, .lines = true};
    auto windows = calibration_windows(tokenizer, sensitivity_text(context_.text).held_out, how);
    if (!windows) windows = calibration_windows(tokenizer, context_.text, how);  // a short text has no lines to spare
    KINGLET_TRY(windows_, std::move(windows));
    return read(reference_);
  }

  /// Mean divergence from the source, for encoders 1 - cosine, with errors in these matrices.
  Result<double> with_errors(const std::vector<std::string>& names) {
    if (context_.cancelled && context_.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    std::vector<std::unique_ptr<PackedMatrix>> kept;
    for (const std::string& name : names) {
      KINGLET_TRY(auto matrix,
                  disturbed_matrix(*context_.source, name, kError, context_.seed * 1000003 + ++seeds_, bench_.pool()));
      KINGLET_TRY(auto old, bench_.exchange(whole_matrix(name), std::move(matrix)));
      kept.push_back(std::move(old));
    }
    std::vector<float> answers;
    KINGLET_CHECK(read(answers));
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (kept[i]) KINGLET_CHECK(bench_.exchange(whole_matrix(names[i]), std::move(kept[i])));
    }
    return generates() ? divergence(answers) : cosine_distance(answers);
  }

 private:
  bool generates() const { return bench_.model().config().causal; }

  /// The logits of every token, or the embedding of every window.
  Result<void> read(std::vector<float>& answers) {
    answers.clear();
    if (generates()) return read_logits(answers);
    for (const auto& ids : windows_) {
      KINGLET_TRY(const std::vector<float> vector, embed_tokens(bench_.engine(), ids));
      answers.insert(answers.end(), vector.begin(), vector.end());
    }
    return {};
  }

  Result<void> read_logits(std::vector<float>& logits) {
    const auto vocabulary = static_cast<std::size_t>(bench_.model().config().vocabulary);
    for (const auto& ids : windows_)
      KINGLET_CHECK(stream_logits(bench_.engine(), ids, std::min(kSkipped, ids.size() - 1), 0,
                                  [&](std::size_t, int rows, float* piece) -> Result<void> {
                                    logits.insert(logits.end(), piece,
                                                  piece + static_cast<std::size_t>(rows) * vocabulary);
                                    return {};
                                  }));
    return {};
  }

  /// Mean of 1 - cosine to the source's embeddings; all have length 1.
  double cosine_distance(const std::vector<float>& embeddings) const {
    double sum = 0;
    for (std::size_t i = 0; i < embeddings.size(); ++i) {
      const double difference = static_cast<double>(embeddings[i]) - reference_[i];
      sum += difference * difference;
    }
    return sum / 2 / static_cast<double>(windows_.size());
  }

  double divergence(const std::vector<float>& logits) const {
    const auto vocabulary = static_cast<std::size_t>(bench_.model().config().vocabulary);
    const std::size_t rows = logits.size() / vocabulary;
    std::vector<double> values(rows);
    bench_.pool().run([&](int thread) {
      const WorkShare share = work_share(static_cast<std::int64_t>(rows), thread, bench_.pool().size());
      for (auto r = static_cast<std::size_t>(share.begin); r < static_cast<std::size_t>(share.end); ++r) {
        const std::span<const float> p(reference_.data() + r * vocabulary, vocabulary);
        const std::span<const float> q(logits.data() + r * vocabulary, vocabulary);
        const double p_total = log_sum_exp(p), q_total = log_sum_exp(q);
        double sum = 0;
        for (std::size_t i = 0; i < vocabulary; ++i) {
          const double log_p = p[i] - p_total;
          if (log_p > -30) sum += std::exp(log_p) * (log_p - (q[i] - q_total));
        }
        values[r] = std::max(0.0, sum);
      }
    });
    double sum = 0;
    for (double value : values) sum += value;
    return sum / std::max<double>(1, static_cast<double>(rows));
  }

  PassContext& context_;
  Workbench& bench_;
  std::vector<std::vector<TokenId>> windows_;
  std::vector<float> reference_;
  std::uint64_t seeds_ = 0;
};

/// The matrices of all layers by layer and by kind.
struct Groups {
  std::map<int, std::vector<std::string>> layers;
  std::map<std::string, std::vector<std::string>> kinds;
};

Result<Sensitivities> measure(PassContext& context, Workbench& bench) {
  Meter meter(context, bench);
  KINGLET_CHECK(meter.prepare());
  Groups groups;
  const auto layers = static_cast<int>(bench.model().config().layers);
  for (int layer = 0; layer < layers; ++layer)
    for (const std::string& name : bench.matrices(layer)) {
      groups.layers[layer].push_back(name);
      groups.kinds[matrix_kind(name)].push_back(name);
    }
  const std::size_t all = groups.layers.size() + groups.kinds.size() + 1;
  std::size_t done = 0;
  const auto step = [&] {
    if (context.progress) context.progress(static_cast<double>(done++) / static_cast<double>(all));
  };
  std::map<int, double> by_layer;
  std::map<std::string, double> by_kind;
  double layer_sum = 0, kind_sum = 0;
  for (const auto& [layer, names] : groups.layers) {
    step();
    KINGLET_TRY(by_layer[layer], meter.with_errors(names));
    layer_sum += by_layer[layer];
  }
  for (const auto& [kind, names] : groups.kinds) {
    step();
    KINGLET_TRY(by_kind[kind], meter.with_errors(names));
    kind_sum += by_kind[kind];
  }
  Sensitivities result;
  for (const auto& [layer, names] : groups.layers) {
    double shares = 0;  // of the kinds that this layer has
    for (const std::string& name : names) shares += by_kind[matrix_kind(name)];
    // Both sums measure the errors of all layers; where they differ, errors do not add up, and the mean is as good.
    const double scale = layer_sum > 0 ? std::sqrt(kind_sum / layer_sum) : 1;
    for (const std::string& name : names)
      result[name] = shares > 0 ? scale * by_layer[layer] * by_kind[matrix_kind(name)] / shares / kError : 0;
  }
  step();
  const std::string head = bench.model().head ? "output.weight" : "token_embd.weight";
  for (const std::string& part : groups_of(*context.source, head)) {
    KINGLET_TRY(const double value, meter.with_errors({part}));
    result[part] = value / kError;
  }
  if (bench.model().position_embedding) {
    const std::string positions = "position_embd.weight";
    KINGLET_TRY(const double value, meter.with_errors({positions}));
    result[positions] = value / kError;
  }
  if (bench.model().head) result["token_embd.weight"] = layer_sum / std::max(layers, 1) / kError;
  return result;
}

Result<Sensitivities> read_cached(const std::string& path) {
  KINGLET_TRY(const std::string text, read_file(path, kMostCache));
  KINGLET_TRY(const auto value, parse_json(text, path));
  Sensitivities result;
  if (!value.is_object()) return fail(ErrorCode::kCorrupt, "expected an object", "", path);
  for (const auto& [name, number] : value.items()) {
    if (!number.is_number() || !(number.get<double>() >= 0))
      return fail(ErrorCode::kCorrupt, "expected numbers", "", path);
    result[name] = number.get<double>();
  }
  return result;
}

}  // namespace

std::string matrix_kind(std::string_view name) {
  if (!name.starts_with("blk.")) return std::string(name);
  const std::size_t dot = name.find('.', 4);
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view rest = name.substr(dot + 1);
  return std::string(rest.substr(0, rest.rfind('.')));
}

SplitText sensitivity_text(std::string_view text) { return split_text(text); }

Result<Sensitivities> measure_sensitivities(PassContext& context) {
  const std::string key = sha256("sensitivity 3 " + context.source_digest + " " + sha256(context.text).hex() + " " +
                                 std::to_string(context.seed))
                              .hex();
  const std::string path = context.cache_folder.empty() ? "" : context.cache_folder + "/" + key + ".sensitivity.json";
  if (!path.empty() && file_exists(path)) {
    if (auto cached = read_cached(path)) return cached;
  }
  // Packed weights are about as large as the file, and the logits of two readings come on top.
  if (2 * context.source->file_bytes() > context.memory_bytes)
    return fail(ErrorCode::kExhausted, "the model is too large for the memory budget to be run");
  KINGLET_TRY(const auto bench, Workbench::open(*context.source, {.threads = context.pool->size()},
                                                {.context = static_cast<std::int64_t>(kWindow) + 8}));
  KINGLET_CHECK(bench->page_in_all());
  KINGLET_TRY(const Sensitivities result, measure(context, *bench));
  if (path.empty()) return result;
  nlohmann::ordered_json value = nlohmann::ordered_json::object();
  for (const auto& [name, number] : result) value[name] = number;
  if (make_folders(context.cache_folder)) {  // a cache that cannot be written costs time only
    if (auto file = AtomicFile::create(path); file && (*file)->write(dump_json(value, 1))) (void)(*file)->commit();
  }
  return result;
}

}  // namespace kinglet
