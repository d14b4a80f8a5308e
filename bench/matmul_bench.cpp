// How fast the packed matrix product is: one row against a streaming read of the same memory, in alternation, and many
// rows in multiply-adds a second. Weights are random bytes; speed does not depend on them.
//   bench_matmul [threads] [megabytes of weights] [type…]
// A type of bit planes may be given with the kernel for few rows: U2:dot, U2:lookup.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_memory.h"
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Touches every cache line, with nothing else to do: what the memory can deliver.
std::uint64_t touch_lines(const std::byte* data, std::size_t bytes) {
  constexpr std::size_t kLine = 64, kAhead = 4096;
  std::uint64_t sums[8] = {};
  for (std::size_t at = 0; at + 8 * kLine <= bytes; at += 8 * kLine) {
    for (std::size_t i = 0; i < 8; ++i) {
      std::uint64_t word;
      __builtin_prefetch(data + at + i * kLine + kAhead);
      std::memcpy(&word, data + at + i * kLine, sizeof word);
      sums[i] += word;
    }
  }
  std::uint64_t sum = 0;
  for (std::uint64_t value : sums) sum += value;
  return sum;
}

struct Matrix {
  PackPlan plan;
  AlignedMemory memory;
  std::vector<WorkShare> shares;
  double pack_seconds = 0;
};

// A matrix of about `bytes` packed bytes, each thread's tiles where that thread touched them first.
Matrix make_matrix(ThreadPool& pool, const BlockType& type, ProductKernel kernel, std::int64_t inputs, double bytes) {
  Matrix matrix;
  const std::int64_t outputs =
      std::max<std::int64_t>(64, static_cast<std::int64_t>(bytes / type.row_bytes(inputs)) / 32 * 32);
  matrix.plan = *plan_packing(type, outputs, inputs, kernel);
  matrix.memory = std::move(*AlignedMemory::allocate(matrix.plan.tiles() * matrix.plan.tile_bytes + 8192));
  std::vector<std::byte> source(outputs * matrix.plan.source_row_bytes);
  std::mt19937_64 random(1);
  std::vector<float> row(inputs);
  std::normal_distribution<float> normal(0, 0.02f);
  for (float& value : row) value = normal(random);
  if (type.encode) {
    type.encode(row.data(), inputs / type.block_values, nullptr, source.data());
  } else {
    for (std::size_t i = 0; i < matrix.plan.source_row_bytes; ++i) source[i] = static_cast<std::byte>(random() & 0x3B);
  }
  for (std::int64_t output = 1; output < outputs; ++output)
    std::memcpy(&source[output * matrix.plan.source_row_bytes], source.data(), matrix.plan.source_row_bytes);
  for (int thread = 0; thread < pool.size(); ++thread)
    matrix.shares.push_back(work_share(matrix.plan.tiles(), thread, pool.size()));
  for (int pass = 0; pass < 2; ++pass) {  // the second time into touched pages
    matrix.pack_seconds = seconds_of([&] {
      pool.run([&](int thread) {
        const WorkShare share = matrix.shares[thread];
        pack_tiles(matrix.plan, source.data(), share.begin, share.end,
                   matrix.memory.data() + share.begin * matrix.plan.tile_bytes);
      });
    });
  }
  return matrix;
}

struct Rows {
  std::vector<float> values, y;
  std::vector<std::byte> quantized;
  LinearInput input;
  Rows(int rows, const PackPlan& plan) : values(rows * plan.inputs), y(rows * plan.outputs) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
    input.rows = rows;
    input.values = values.data();
    input.value_stride = plan.inputs;
    input.quantized_stride = quantized_row_bytes(plan.inputs);
    if (plan.input == InputFormat::kFloat32) return;
    quantized.resize(rows * input.quantized_stride);
    for (int row = 0; row < rows; ++row)
      quantize_row(&values[row * plan.inputs], plan.inputs, &quantized[row * input.quantized_stride]);
    input.quantized = quantized.data();
  }
};

double product_seconds(ThreadPool& pool, const Matrix& matrix, Rows& rows) {
  return seconds_of([&] {
    pool.run([&](int thread) {
      const WorkShare share = matrix.shares[thread];
      const std::int64_t valid =
          std::min<std::int64_t>(matrix.plan.outputs - share.begin * 16, (share.end - share.begin) * 16);
      multiply_tiles(matrix.plan, matrix.memory.data() + share.begin * matrix.plan.tile_bytes,
                     static_cast<int>(share.end - share.begin), static_cast<int>(valid), rows.input,
                     rows.y.data() + share.begin * 16, matrix.plan.outputs);
    });
  });
}

void measure(ThreadPool& pool, const BlockType& type, ProductKernel kernel, const std::string& name,
             std::int64_t inputs, double bytes) {
  const Matrix large = make_matrix(pool, type, kernel, inputs, bytes);
  const double read_bytes = static_cast<double>(large.plan.tiles() * large.plan.tile_bytes);
  std::printf("%-9s K %5lld  pack %5.0f ms/100MB ", name.c_str(), static_cast<long long>(inputs),
              large.pack_seconds * 1e3 * 1e8 / (large.plan.outputs * large.plan.source_row_bytes));
  Rows one(1, large.plan);
  std::vector<double> shares, probes, ratios[2];
  Rows eight(8, large.plan), four(4, large.plan);
  std::uint64_t sink = 0;
  for (int round = 0; round < 15; ++round) {
    const double probe = seconds_of([&] {
      std::vector<std::uint64_t> sums(pool.size() * 16);
      pool.run([&](int thread) {
        const WorkShare share = large.shares[thread];
        sums[thread * 16] = touch_lines(large.memory.data() + share.begin * large.plan.tile_bytes,
                                        (share.end - share.begin) * large.plan.tile_bytes);
      });
      sink += sums[0];
    });
    const double product = product_seconds(pool, large, one);
    shares.push_back(probe / product);
    probes.push_back(probe);
    ratios[0].push_back(product_seconds(pool, large, four) / product);
    ratios[1].push_back(product_seconds(pool, large, eight) / product);
  }
  std::printf(" probe %5.1f GB/s  1 row %3.0f %% of it  4 rows %.2fx  8 rows %.2fx ",
              read_bytes / median(probes) * 1e-9, 100 * median(shares), median(ratios[0]), median(ratios[1]));
  if (sink == 42) std::printf("!");
  const Matrix small = make_matrix(pool, type, kernel, inputs, 1.5e6);
  for (int count : {1, 8, 16, 512}) {
    Rows rows(count, small.plan);
    std::vector<double> times;
    for (int round = 0; round < (count > 16 ? 7 : 41); ++round) times.push_back(product_seconds(pool, small, rows));
    const double macs = static_cast<double>(count) * small.plan.outputs * small.plan.inputs;
    std::printf(" %d:%.0f", count, macs / *std::min_element(times.begin(), times.end()) * 1e-9 / pool.size());
  }
  std::printf(" GMAC/s/thread (rows:rate, cached)\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace kinglet

int main(int argc, char** argv) {
  using namespace kinglet;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  const double bytes = (argc > 2 ? std::atof(argv[2]) : 96) * 1e6;
  std::vector<std::string> names(argv + std::min(argc, 3), argv + argc);
  if (names.empty())
    names = {"Q4_0", "Q4_1", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "F16", "F32"};
  std::printf("%d threads, %s\n", pool.size(), std::string(isa_name(active_isa())).c_str());
  for (const std::string& name : names) {
    const std::size_t colon = name.find(':');
    const std::string way = colon == std::string::npos ? "" : name.substr(colon + 1);
    const ProductKernel kernel = way == "dot"      ? ProductKernel::kDot
                                 : way == "lookup" ? ProductKernel::kLookup
                                                   : ProductKernel::kBest;
    const BlockType* type = find_block_type(name.substr(0, colon));
    if (!type) return std::fprintf(stderr, "no type %s\n", name.c_str()), 2;
    for (std::int64_t inputs : {type->block_values > 32 ? 768 : 576, 1536, 4864})
      measure(pool, *type, kernel, name, inputs, bytes);
  }
  return 0;
}
