// All kernels of the machine against the scalar ones, bit for bit, and those against sums in double precision.
#include "tensor/kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tensor/kernels/matmul_kernels.h"

namespace kinglet {
namespace {

// Random blocks of a type: any bytes whose values are finite and of moderate size.
std::vector<std::byte> random_tensor(const BlockType& type, std::int64_t rows, std::int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> data(static_cast<std::size_t>(rows) * type.row_bytes(columns));
  std::vector<float> values(type.block_values);
  const std::size_t size = type.block_bytes;
  if (type.form.bits == 0) {
    std::normal_distribution<float> normal(0.0f, 30.0f);
    std::vector<float> numbers(data.size() / size);
    for (float& number : numbers) number = normal(random);
    type.encode(numbers.data(), numbers.size(), nullptr, data.data());
    return data;
  }
  for (std::size_t at = 0; at < data.size(); at += size) {
    for (bool good = false; !good;) {
      for (std::size_t i = 0; i < size; ++i) data[at + i] = static_cast<std::byte>(random());
      type.decode(&data[at], 1, values.data());
      good = true;
      for (float value : values) good = good && std::fabs(value) < 1e4f;
    }
  }
  return data;
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random) * (random() % 50 == 0 ? 20.0f : 1.0f);
  return values;
}

std::vector<std::byte> pack(const PackPlan& plan, const std::vector<std::byte>& data) {
  std::vector<std::byte> tiles(static_cast<std::size_t>(plan.tiles()) * plan.tile_bytes);
  pack_tiles(plan, data.data(), 0, plan.tiles(), tiles.data());
  return tiles;
}

struct Input {
  std::vector<float> values;
  std::vector<std::byte> quantized;
  LinearInput input;

  Input(int rows, std::int64_t columns, unsigned seed) : values(random_values(rows * columns, seed)) {
    input.rows = rows;
    input.values = values.data();
    input.value_stride = columns;
    if (columns % kBlockInputs != 0) return;
    input.quantized_stride = quantized_row_bytes(columns);
    quantized.resize(rows * input.quantized_stride);
    for (int row = 0; row < rows; ++row)
      quantize_row(&values[row * columns], columns, &quantized[row * input.quantized_stride]);
    input.quantized = quantized.data();
  }
};

std::vector<float> multiply(const MatmulKernels& kernels, const PackPlan& plan, const std::vector<std::byte>& tiles,
                            const LinearInput& input) {
  const std::size_t stride = plan.outputs + 3;
  std::vector<float> y(input.rows * stride, -1.0f);
  multiply_tiles(kernels, plan, tiles.data(), static_cast<int>(plan.tiles()), static_cast<int>(plan.outputs), input,
                 y.data(), stride);
  for (int row = 0; row < input.rows; ++row)
    for (int pad = 0; pad < 3; ++pad) EXPECT_EQ(y[row * stride + plan.outputs + pad], -1.0f) << "written past the end";
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<Isa> wide_isas() {
  std::vector<Isa> isas;
  for (Isa isa : supported_isas())
    if (isa != Isa::kScalar) isas.push_back(isa);
  return isas;
}

class EveryType : public testing::TestWithParam<const BlockType*> {};

INSTANTIATE_TEST_SUITE_P(Matmul, EveryType, testing::ValuesIn(block_types().begin(), block_types().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(EveryType, UnpackedRowsAreBitEqualToTheDecoder) {
  const BlockType& type = *GetParam();
  const std::int64_t columns = type.block_values * 5, rows = 37;
  const auto plan = plan_packing(type, rows, columns);
  ASSERT_TRUE(plan);
  const std::vector<std::byte> data = random_tensor(type, rows, columns, 1);
  const std::vector<std::byte> tiles = pack(*plan, data);
  std::vector<float> expected(columns), unpacked(columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    type.decode(&data[row * plan->source_row_bytes], columns / type.block_values, expected.data());
    unpack_row(*plan, &tiles[row / kTileRows * plan->tile_bytes], row % kTileRows, unpacked.data());
    ASSERT_TRUE(same_bits(expected, unpacked)) << "row " << row;
  }
}

TEST_P(EveryType, TilesPackedInPartsAreTheSame) {
  const BlockType& type = *GetParam();
  const auto plan = plan_packing(type, 80, type.block_values * 8);
  ASSERT_TRUE(plan);
  const std::vector<std::byte> data = random_tensor(type, 80, type.block_values * 8, 2);
  const std::vector<std::byte> whole = pack(*plan, data);
  std::vector<std::byte> part(2 * plan->tile_bytes);
  pack_tiles(*plan, data.data(), 3, 5, part.data());
  EXPECT_EQ(std::memcmp(part.data(), whole.data() + 3 * plan->tile_bytes, part.size()), 0);
}

TEST_P(EveryType, TheScalarProductIsTheSumOfTheExactValues) {
  const BlockType& type = *GetParam();
  const std::int64_t columns = type.block_values == 1 ? 77 : 512, outputs = 21;
  const auto plan = plan_packing(type, outputs, columns);
  ASSERT_TRUE(plan);
  const std::vector<std::byte> data = random_tensor(type, outputs, columns, 3);
  const std::vector<std::byte> tiles = pack(*plan, data);
  const Input input(3, columns, 4);
  const std::vector<float> y = multiply(matmul_kernels_scalar, *plan, tiles, input.input);
  std::vector<float> weights(columns), x(columns);
  for (int row = 0; row < 3; ++row) {
    for (std::int64_t i = 0; i < columns; ++i) x[i] = input.values[row * columns + i];
    if (plan->input == InputFormat::kInt8)
      dequantize_row(input.quantized.data() + row * input.input.quantized_stride, columns, x.data());
    for (std::int64_t output = 0; output < outputs; ++output) {
      type.decode(&data[output * plan->source_row_bytes], columns / type.block_values, weights.data());
      double sum = 0, magnitude = 0;
      for (std::int64_t i = 0; i < columns; ++i) {
        sum += static_cast<double>(weights[i]) * x[i];
        magnitude += std::fabs(static_cast<double>(weights[i]) * x[i]);
      }
      // Minimums cancel large scaled sums: their rounding is relative to the magnitudes before they meet.
      ASSERT_NEAR(y[row * (outputs + 3) + output], sum, magnitude * 4e-5 + 1e-6)
          << "row " << row << " output " << output;
    }
  }
}

TEST_P(EveryType, EveryInstructionSetGivesTheScalarBits) {
  const BlockType& type = *GetParam();
  for (std::int64_t columns :
       {type.block_values == 1 ? 45 : std::lcm(type.block_values, 32) * 3, type.block_values == 1 ? 700 : 2304}) {
    const std::int64_t outputs = 16 * 3 + 7;
    const auto plan = plan_packing(type, outputs, columns);
    ASSERT_TRUE(plan);
    const std::vector<std::byte> tiles = pack(*plan, random_tensor(type, outputs, columns, 5));
    const Input input(40, columns, 6);
    const std::vector<float> all = multiply(matmul_kernels_scalar, *plan, tiles, input.input);
    for (Isa isa : wide_isas()) {
      for (int rows = 1; rows <= 40; ++rows) {
        LinearInput part = input.input;
        part.rows = rows;
        std::vector<float> expected(all.begin(), all.begin() + rows * (outputs + 3));
        ASSERT_TRUE(same_bits(multiply(matmul_kernels(isa), *plan, tiles, part), expected))
            << isa_name(isa) << " rows " << rows << " columns " << columns;
      }
    }
  }
}

TEST(Matmul, ManyRowsAndTilesGiveTheScalarBits) {
  for (const char* name : {"Q4_1", "Q8_0", "Q6_K", "F16"}) {
    const BlockType& type = *find_block_type(name);
    const std::int64_t columns = 1792, outputs = 16 * 37 + 1;
    const auto plan = plan_packing(type, outputs, columns);
    ASSERT_TRUE(plan);
    const std::vector<std::byte> tiles = pack(*plan, random_tensor(type, outputs, columns, 7));
    const Input input(53, columns, 8);
    const std::vector<float> expected = multiply(matmul_kernels_scalar, *plan, tiles, input.input);
    for (Isa isa : wide_isas())
      EXPECT_TRUE(same_bits(multiply(matmul_kernels(isa), *plan, tiles, input.input), expected))
          << isa_name(isa) << " " << name;
  }
}

// Table look-up and plain products, of every width and of rows that end anywhere: the same bits as the scalar
// reference.
TEST(Lookup, GivesTheBitsOfThePlainProduct) {
  for (const char* name : {"U1", "U2", "U3", "U4"}) {
    const BlockType& type = *find_block_type(name);
    for (std::int64_t columns : {32, 576, 1536, 8192 + 64}) {
      const std::int64_t outputs = columns > 2000 ? 16 * 33 + 5 : 16 * 3 + 9;
      const std::vector<std::byte> data = random_tensor(type, outputs, columns, 11);
      const auto dot = plan_packing(type, outputs, columns, ProductKernel::kDot);
      const auto lookup = plan_packing(type, outputs, columns, ProductKernel::kLookup);
      ASSERT_TRUE(dot && lookup);
      ASSERT_NE(dot->format, lookup->format);
      ASSERT_EQ(dot->tile_bytes, lookup->tile_bytes);
      const std::vector<std::byte> dot_tiles = pack(*dot, data), lookup_tiles = pack(*lookup, data);
      for (int rows : {1, 2, 3, 9}) {
        const Input input(rows, columns, 12 + rows);
        const std::vector<float> expected = multiply(matmul_kernels_scalar, *dot, dot_tiles, input.input);
        for (Isa isa : supported_isas()) {
          ASSERT_TRUE(same_bits(multiply(matmul_kernels(isa), *lookup, lookup_tiles, input.input), expected))
              << isa_name(isa) << " " << name << " rows " << rows << " columns " << columns;
          ASSERT_TRUE(same_bits(multiply(matmul_kernels(isa), *dot, dot_tiles, input.input), expected))
              << isa_name(isa) << " " << name << " rows " << rows << " columns " << columns;
        }
      }
    }
  }
}

// The largest sums that there are: all activations and codes at the end of their range, with either sign.
TEST(Lookup, TheLargestSumsFit) {
  constexpr std::int64_t kColumns = 64;
  for (const char* name : {"U1", "U2", "U3", "U4"}) {
    const BlockType& type = *find_block_type(name);
    const auto plan = plan_packing(type, 16, kColumns, ProductKernel::kLookup);
    const float highest = type.form.codebook[(1 << type.form.bits) - 1];
    for (float sign : {1.0f, -1.0f}) {
      std::vector<float> weights(16 * kColumns, highest), x(kColumns, sign * 127);
      for (std::size_t i = 0; i < weights.size(); i += 3) weights[i] = -highest;
      for (std::size_t i = 0; i < x.size(); i += 3) x[i] = -x[i];  // so that every product has the same sign in row 0
      std::vector<std::byte> data(16 * type.row_bytes(kColumns));
      for (int row = 0; row < 16; ++row)
        type.encode(weights.data(), kColumns / 32, nullptr, data.data() + row * type.row_bytes(kColumns));
      Input input(1, kColumns, 1);
      quantize_row(x.data(), kColumns, input.quantized.data());
      for (Isa isa : supported_isas()) {
        const std::vector<float> y = multiply(matmul_kernels(isa), *plan, pack(*plan, data), input.input);
        for (int output = 0; output < 16; ++output)
          EXPECT_NEAR(y[output], sign * highest * 127 * kColumns, 1) << isa_name(isa) << " " << name;
      }
    }
  }
}

TEST(Lookup, OtherTypesHaveNoPlanes) {
  for (const char* name : {"Q4_0", "IQ4_NL", "K4", "F16"}) {
    const BlockType& type = *find_block_type(name);
    EXPECT_EQ(plan_packing(type, 16, 512, ProductKernel::kLookup)->format,
              plan_packing(type, 16, 512, ProductKernel::kDot)->format);
  }
}

// A type that no kernel was written for: unsigned 3-bit codes without minimum, in groups of 32 with f32 scales; and one
// with a codebook of 5 bits in groups of 64.
constexpr std::int8_t kBook[32] = {-128, -100, -90, -80, -70, -60, -50, -40, -30, -20, -10, -7, -5, -3, -2, -1,
                                   0,    1,    2,   3,   5,   7,   10,  20,  30,  40,  50,  60, 70, 80, 90, 127};
template <int Bits, int Values, bool Book>
void odd_codes(const std::byte* data, std::size_t blocks, std::int8_t* codes, float* scales, float*) {
  for (std::size_t block = 0; block < blocks; ++block, data += Values + 4) {
    std::memcpy(&scales[block], data, 4);
    scales[block] = std::fmod(std::isfinite(scales[block]) ? scales[block] : 1.0f, 1.0f);
    for (int i = 0; i < Values; ++i)
      codes[block * Values + i] = static_cast<std::int8_t>(std::to_integer<int>(data[4 + i]) & ((1 << Bits) - 1));
  }
}
template <int Bits, int Values, bool Book>
void odd_decode(const std::byte* data, std::size_t blocks, float* out) {
  for (std::size_t block = 0; block < blocks; ++block, data += Values + 4, out += Values) {
    std::int8_t codes[Values];
    float scale;
    odd_codes<Bits, Values, Book>(data, 1, codes, &scale, nullptr);
    for (int i = 0; i < Values; ++i) out[i] = scale * static_cast<float>(Book ? kBook[codes[i]] : codes[i]);
  }
}
template <int Bits, int Values, bool Book>
BlockType odd_type() {
  BlockType type;
  type.name = "odd";
  type.block_values = Values;
  type.block_bytes = Values + 4;
  type.form.bits = Bits;
  type.form.group = Values;
  if (Book) type.form.codebook = kBook;
  type.decode = odd_decode<Bits, Values, Book>;
  type.codes = odd_codes<Bits, Values, Book>;
  return type;
}

TEST(Matmul, ANewBlockTypeNeedsNoNewKernel) {
  for (const BlockType& type : {odd_type<3, 32, false>(), odd_type<5, 64, true>(), odd_type<7, 32, false>()}) {
    const std::int64_t columns = 192, outputs = 19;
    const auto plan = plan_packing(type, outputs, columns);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->input, InputFormat::kInt8);
    const std::vector<std::byte> data = random_tensor(type, outputs, columns, 9), tiles = pack(*plan, data);
    std::vector<float> expected(columns), unpacked(columns);
    for (std::int64_t row = 0; row < outputs; ++row) {
      type.decode(&data[row * plan->source_row_bytes], columns / type.block_values, expected.data());
      unpack_row(*plan, &tiles[row / kTileRows * plan->tile_bytes], row % kTileRows, unpacked.data());
      ASSERT_EQ(expected, unpacked) << "row " << row;
    }
    const Input input(5, columns, 10);
    const std::vector<float> scalar = multiply(matmul_kernels_scalar, *plan, tiles, input.input);
    for (Isa isa : wide_isas())
      EXPECT_TRUE(same_bits(multiply(matmul_kernels(isa), *plan, tiles, input.input), scalar)) << isa_name(isa);
  }
}

TEST(Matmul, PackedBytesStayNearTheFiles) {
  for (const char* name :
       {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "F32", "F16", "BF16"}) {
    const BlockType& type = *find_block_type(name);
    const auto plan = plan_packing(type, 16, 1024);
    ASSERT_TRUE(plan);
    EXPECT_LE(plan->tile_bytes, 1.03 * 16 * plan->source_row_bytes) << name;
  }
}

TEST(Matmul, ShapesThatDoNotFitHaveNoPlan) {
  const BlockType& q4 = *find_block_type("Q4_1");
  EXPECT_FALSE(plan_packing(q4, 16, 33));
  EXPECT_FALSE(plan_packing(q4, 0, 32));
  EXPECT_FALSE(plan_packing(q4, 16, 0));
  EXPECT_FALSE(plan_packing(*find_block_type("Q4_K"), 16, 576));
  EXPECT_TRUE(plan_packing(*find_block_type("F32"), 1, 1));
}

TEST(Matmul, ANaNInputMakesNaNOutputs) {
  const BlockType& type = *find_block_type("Q4_1");
  const auto plan = plan_packing(type, 16, 96);
  const std::vector<std::byte> tiles = pack(*plan, random_tensor(type, 16, 96, 11));
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Input input(1, 96, 12);
    input.values[50] = bad;
    quantize_row(input.values.data(), 96, input.quantized.data());
    for (Isa isa : supported_isas())
      for (int output = 0; output < 16; ++output)
        EXPECT_TRUE(std::isnan(multiply(matmul_kernels(isa), *plan, tiles, input.input)[output]));
  }
}

}  // namespace
}  // namespace kinglet
