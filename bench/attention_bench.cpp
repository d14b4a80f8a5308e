// Attention beside what the machine can do: decode against a streaming read of as many bytes by the same threads,
// prefill against the score kernel on data of the first-level cache.
//   bench_attention [threads [shape [decode]]]   with one thread the times are CPU time
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/attention.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/elementwise.h"

namespace kinglet {
namespace {

struct Shape {
  const char* name;
  int heads, kv_heads, length, layers;
};

bool cpu_time = false;  ///< with one thread: other programs on the machine then disturb less

double seconds_now() {
  if (cpu_time) {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The middle of the times of several runs: neighbours on the machine disturb some of them.
template <typename Body>
double median_seconds(int runs, Body body) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const double start = seconds_now();
    body();
    times.push_back(seconds_now() - start);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

class Bench {
 public:
  Bench(const Shape& shape, KvStorage storage, int threads, std::int64_t positions)
      : shape_(shape), pool_(threads), positions_(positions) {
    ModelConfig config;
    config.key_length = config.value_length = shape.length;
    for (int i = 0; i < shape.layers; ++i)
      config.per_layer.push_back({.heads = shape.heads, .kv_heads = shape.kv_heads});
    auto caches = std::make_shared<CacheConfig>(cache_config(config, 0, "bench"));
    store_ = std::make_shared<PagedStore>(
        KvLayout{.storage = storage, .key_length = shape.length, .value_length = shape.length});
    plan_ = std::move(AttentionPlan::create(config, storage, threads, 1024).value());
    sequence_ = std::make_unique<SequenceCache>(store_, caches);
    const std::size_t rows = 512;
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 1);
    q_.resize(rows * static_cast<std::size_t>(shape.heads * shape.length));
    k_.resize(rows * static_cast<std::size_t>(shape.kv_heads * shape.length));
    o_.resize(q_.size());
    for (float& v : q_) v = normal(random);
    for (float& v : k_) v = normal(random);
    while (sequence_->length() < positions) {
      const int count = static_cast<int>(std::min<std::int64_t>(512, positions - sequence_->length()));
      prepare(count);
      for (int layer = 0; layer < shape.layers; ++layer)
        for (int item = 0; item < plan_->store_items(layer); ++item) plan_->store(layer, item, k_.data(), k_.data());
      plan_->commit();
    }
  }

  /// All layers of one call, not committed, so that it can be repeated.
  void call(int rows) {
    prepare(rows);
    std::atomic<int> next = 0;
    pool_.run([&](int thread) {
      for (int layer = 0; layer < shape_.layers; ++layer) {
        for (int item = thread; item < plan_->store_items(layer); item += pool_.size())
          plan_->store(layer, item, k_.data(), k_.data());
        pool_.barrier();
        const int items = plan_->attend_items(layer);
        for (int item = next.fetch_add(1); item < items; item = next.fetch_add(1))
          plan_->attend(layer, item, thread, q_.data(), o_.data());
        pool_.barrier();
        if (thread == 0) next = 0;
        pool_.barrier();
      }
    });
  }
  double kv_bytes() const {
    const double page = static_cast<double>(store_->page_bytes());
    return page * shape_.layers * shape_.kv_heads * static_cast<double>(positions_) / kKvChunk;
  }
  double flops(int rows) const {
    const double pairs = rows * static_cast<double>(positions_) + 0.5 * rows * (rows + 1);
    return 4.0 * pairs * shape_.heads * shape_.length * shape_.layers;
  }
  ThreadPool& pool() { return pool_; }

 private:
  void prepare(int count) {
    std::vector<Row> rows;
    for (int i = 0; i < count; ++i)
      rows.push_back({.sequence = sequence_.get(), .position = static_cast<std::int32_t>(sequence_->length()) + i});
    if (auto ready = plan_->prepare(rows, false, 0, shape_.layers); !ready) {
      std::fprintf(stderr, "%s\n", ready.error().text().c_str());
      std::exit(1);
    }
  }

  Shape shape_;
  ThreadPool pool_;
  std::int64_t positions_;
  std::shared_ptr<PagedStore> store_;
  std::unique_ptr<AttentionPlan> plan_;
  std::unique_ptr<SequenceCache> sequence_;
  std::vector<float> q_, k_, o_;
};

/// Bytes a second of a plain read by all threads.
double stream(ThreadPool& pool, double bytes) {
  static AlignedMemory memory = AlignedMemory::allocate(std::uint64_t{256} << 20).value();
  static bool touched = false;
  if (!touched) std::memset(memory.data(), 1, memory.size());
  touched = true;
  const auto floats = static_cast<std::int64_t>(std::min(bytes, static_cast<double>(memory.size())) / 4);
  std::vector<float> sums(static_cast<std::size_t>(pool.size()) * 16);
  const double seconds = median_seconds(9, [&] {
    pool.run([&](int thread) {
      const WorkShare share = work_share(floats, thread, pool.size());
      sums[static_cast<std::size_t>(thread) * 16] =
          elementwise().maximum(reinterpret_cast<const float*>(memory.data()) + share.begin, share.end - share.begin);
    });
  });
  return static_cast<double>(floats) * 4 / seconds;
}

/// FLOP/s of the score kernel on one core's first-level cache, times the threads.
double kernel_peak(ThreadPool& pool) {
  alignas(64) static float groups[8 * 64 * 16], q[24 * 64];
  const std::byte* list[8];
  for (int g = 0; g < 8; ++g) list[g] = reinterpret_cast<const std::byte*>(groups + g * 64 * 16);
  constexpr int kRepeats = 500;
  const double seconds = median_seconds(9, [&] {
    pool.run([&](int) {
      float scores[24 * kKvChunk];
      for (int i = 0; i < kRepeats; ++i) attention().scores[0](q, 24, 24, 64, list, 8, nullptr, scores);
    });
  });
  return 2.0 * 24 * 64 * 128 * kRepeats * pool.size() / seconds;
}

void measure(const Shape& shape, KvStorage storage, const char* storage_name, int threads, bool decode_only) {
  for (std::int64_t depth : {1024, 4096}) {
    Bench bench(shape, storage, threads, depth);
    for (int rows : {1, 4, 8}) {
      const double seconds = median_seconds(15, [&] { bench.call(rows); });
      const double rate = bench.kv_bytes() / seconds, probe = stream(bench.pool(), bench.kv_bytes());
      std::printf("%-18s %-5s decode  depth %5d rows %3d: %8.3f ms %7.1f GB/s  probe %6.1f GB/s  share %3.0f %%\n",
                  shape.name, storage_name, static_cast<int>(depth), rows, seconds * 1e3, rate / 1e9, probe / 1e9,
                  100 * rate / probe);
    }
  }
  if (decode_only) return;
  for (std::int64_t depth : {0, 3584}) {
    Bench bench(shape, storage, threads, depth);
    const double seconds = median_seconds(5, [&] { bench.call(512); });
    const double rate = bench.flops(512) / seconds, peak = kernel_peak(bench.pool());
    std::printf("%-18s %-5s prefill depth %5d rows 512: %8.3f ms %7.1f GFLOP/s  kernel %6.1f  share %3.0f %%\n",
                shape.name, storage_name, static_cast<int>(depth), seconds * 1e3, rate / 1e9, peak / 1e9,
                100 * rate / peak);
  }
}

}  // namespace
}  // namespace kinglet

int main(int argc, char** argv) {
  using namespace kinglet;
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : usable_cores();
  cpu_time = threads == 1;
  std::printf("%s, %d threads\n", std::string(isa_name(active_isa())).c_str(), threads);
  const Shape shapes[] = {
      {"smollm2 9/3x64", 9, 3, 64, 30}, {"qwen 14/2x64", 14, 2, 64, 24}, {"gemma 4/1x256", 4, 1, 256, 18}};
  for (const Shape& shape : shapes) {
    if (argc > 2 && std::strstr(shape.name, argv[2]) == nullptr) continue;
    measure(shape, KvStorage::kF16, "f16", threads, argc > 3);
    measure(shape, KvStorage::kInt8, "int8", threads, argc > 3);
  }
}
