#include "compress/calibration/collector.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/file.h"
#include "base/sha256.h"
#include "base/try.h"
#include "compress/calibration/moments.h"
#include "compress/workbench.h"

namespace kinglet {
namespace {

constexpr std::string_view kMagic = "KCAL0001";
constexpr std::uint64_t kMostFile = std::uint64_t{16} << 30;
constexpr TapPoint kPoints[] = {TapPoint::kAttentionInput, TapPoint::kAttended, TapPoint::kFeedForwardInput,
                                TapPoint::kActivated};

/// Sums of one tap point while the text runs.
class PointSums {
 public:
  PointSums(int layer, TapPoint point, bool moments) : moments_(moments) {
    result_.layer = layer;
    result_.point = point;
  }
  void add(std::span<const float> values, std::size_t rows, ThreadPool& pool) {
    if (rows == 0) return;
    const std::size_t inputs = values.size() / rows;
    if (result_.low.empty()) {
      result_.low.assign(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(inputs));
      result_.high = result_.low;
      squares_.resize(inputs);
      if (moments_) moment_ = std::make_unique<MomentSum>(static_cast<std::int64_t>(inputs));
    }
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < inputs; ++i) {
        const float value = values[r * inputs + i];
        result_.low[i] = std::min(result_.low[i], value);
        result_.high[i] = std::max(result_.high[i], value);
        squares_[i] += static_cast<double>(value) * value;
      }
    }
    if (moment_) moment_->add(values, values, pool);
    rows_ += rows;
  }
  InputStatistics take() {
    for (double square : squares_)
      result_.mean_square.push_back(static_cast<float>(square / static_cast<double>(rows_)));
    if (moment_) result_.moment = std::move(moment_->sum());
    return std::move(result_);
  }

 private:
  InputStatistics result_;
  bool moments_;
  std::vector<double> squares_;
  std::unique_ptr<MomentSum> moment_;
  std::size_t rows_ = 0;
};

std::string path_of(const CollectorOptions& options, int layer) {
  if (options.folder.empty()) return "";
  return options.folder + "/" + options.key + "." + std::to_string(layer) + (options.moments ? ".moments" : "") +
         ".kcal";
}

void append(std::string& bytes, const void* data, std::size_t size) {
  bytes.append(static_cast<const char*>(data), size);
}

std::string to_bytes(std::span<const InputStatistics> points) {
  std::string bytes(kMagic);
  for (const InputStatistics& point : points) {
    const std::int64_t header[] = {point.layer, static_cast<std::int64_t>(point.point),
                                   static_cast<std::int64_t>(point.low.size()), point.moment.empty() ? 0 : 1};
    append(bytes, header, sizeof header);
    for (const auto* part : {&point.low, &point.high, &point.mean_square, &point.moment})
      append(bytes, part->data(), part->size() * sizeof(float));
  }
  return bytes + sha256(bytes).hex();
}

/// Nothing where the file is not there or not whole.
std::vector<InputStatistics> from_file(const std::string& path) {
  const auto text = path.empty() ? Result<std::string>(std::string()) : read_file(path, kMostFile);
  constexpr std::size_t kHash = 64;
  if (!text || text->size() < kMagic.size() + kHash || !text->starts_with(kMagic)) return {};
  const std::string_view bytes = std::string_view(*text).substr(0, text->size() - kHash);
  if (sha256(bytes).hex() != std::string_view(*text).substr(bytes.size())) return {};
  std::vector<InputStatistics> points;
  std::size_t at = kMagic.size();
  while (at < bytes.size()) {
    std::int64_t header[4];
    if (bytes.size() - at < sizeof header) return {};
    std::memcpy(header, bytes.data() + at, sizeof header);
    at += sizeof header;
    InputStatistics point;
    point.layer = static_cast<int>(header[0]);
    point.point = static_cast<TapPoint>(header[1]);
    if (header[2] < 0 || header[2] > (1 << 20)) return {};
    const auto inputs = static_cast<std::size_t>(header[2]);
    for (auto* part : {&point.low, &point.high, &point.mean_square, &point.moment}) {
      const std::size_t count = part != &point.moment ? inputs : header[3] != 0 ? inputs * inputs : 0;
      if ((bytes.size() - at) / sizeof(float) < count) return {};
      if (count == 0) continue;
      part->resize(count);
      std::memcpy(part->data(), bytes.data() + at, count * sizeof(float));
      at += count * sizeof(float);
    }
    points.push_back(std::move(point));
  }
  return points;
}

Result<void> hand_out(std::vector<InputStatistics> points, const CollectorOptions& options, bool keep,
                      const std::function<Result<void>(InputStatistics)>& sink) {
  if (keep && !options.folder.empty() && !points.empty()) {
    KINGLET_CHECK(make_folders(options.folder));
    KINGLET_TRY(auto file, AtomicFile::create(path_of(options, points[0].layer)));
    KINGLET_CHECK(file->write(to_bytes(points)));
    KINGLET_CHECK(file->commit());
  }
  for (InputStatistics& point : points) KINGLET_CHECK(sink(std::move(point)));
  return {};
}

Result<void> run_layer(Workbench& bench, int layer, std::vector<std::vector<float>>& hidden, std::size_t width,
                       bool moments, std::vector<InputStatistics>& points) {
  std::vector<PointSums> sums;
  for (TapPoint point : kPoints) sums.emplace_back(layer, point, moments);
  std::vector<std::vector<float>> tapped(std::size(kPoints));
  ForwardHooks hooks;
  hooks.linear_input = [&](int, TapPoint point, std::span<const float> values) {
    tapped[static_cast<std::size_t>(point)].assign(values.begin(), values.end());
  };
  std::vector<Row> rows;
  for (auto& each : hidden) {
    KINGLET_TRY(auto sequence, bench.engine().new_sequence());
    rows.clear();
    for (std::size_t i = 0; i < each.size() / width; ++i)
      rows.push_back({sequence.get(), static_cast<std::int32_t>(i), -1});
    KINGLET_CHECK(bench.engine().forward(
        {.rows = rows, .hidden = each.data(), .layer_begin = layer, .layer_end = layer + 1, .hooks = &hooks}));
    for (std::size_t p = 0; p < sums.size(); ++p) sums[p].add(tapped[p], rows.size(), bench.pool());
  }
  for (PointSums& each : sums) points.push_back(each.take());
  return {};
}

}  // namespace

Result<void> collect_statistics(const Checkpoint& checkpoint, const std::vector<std::vector<TokenId>>& windows,
                                const CollectorOptions& options,
                                const std::function<Result<void>(InputStatistics)>& sink) {
  KINGLET_TRY(const auto bench, Workbench::open(checkpoint, {.threads = options.threads, .with_tokenizer = false}, {}));
  const int layers = static_cast<int>(bench->model().config().layers);
  bool all = !options.folder.empty();
  for (int layer = 0; all && layer <= layers; ++layer) all = !from_file(path_of(options, layer)).empty();
  if (all) {
    for (int layer = 0; layer <= layers; ++layer)
      KINGLET_CHECK(hand_out(from_file(path_of(options, layer)), options, false, sink));
    return {};
  }
  const auto width = static_cast<std::size_t>(bench->model().config().width);
  std::vector<std::vector<float>> hidden(windows.size());
  for (std::size_t w = 0; w < windows.size(); ++w) {
    std::vector<std::int32_t> positions(windows[w].size());
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int32_t>(i);
    hidden[w].resize(windows[w].size() * width);
    KINGLET_CHECK(bench->engine().embed(windows[w], positions, hidden[w].data()));
  }
  for (int layer = 0; layer < layers; ++layer) {
    std::vector<InputStatistics> points;
    KINGLET_CHECK(bench->page_in(layer));
    KINGLET_CHECK(run_layer(*bench, layer, hidden, width, options.moments, points));
    KINGLET_CHECK(bench->page_out(layer));
    KINGLET_CHECK(hand_out(std::move(points), options, true, sink));
  }
  PointSums head(layers, TapPoint::kAttentionInput, options.moments);
  for (auto& each : hidden) {
    bench->engine().final_norm(each.data(), static_cast<int>(each.size() / width));
    head.add(each, each.size() / width, bench->pool());
  }
  std::vector<InputStatistics> last;
  last.push_back(head.take());
  return hand_out(std::move(last), options, true, sink);
}

std::vector<std::int64_t> token_counts(const std::vector<std::vector<TokenId>>& windows, std::int64_t vocabulary) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(vocabulary));
  for (const auto& window : windows) {
    for (TokenId id : window)
      if (id >= 0 && id < vocabulary) ++counts[static_cast<std::size_t>(id)];
  }
  return counts;
}

}  // namespace kinglet
