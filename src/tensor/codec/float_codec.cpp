#include "tensor/codec/float_codec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <queue>
#include <string>

#include "base/try.h"

namespace kinglet {
namespace {

constexpr int kSymbols = 256, kLongest = 12;
constexpr std::size_t kLengthsAt = 24, kIndexAt = kLengthsAt + kSymbols / 2;
constexpr char kMagic[4] = {'K', 'F', 'C', '1'};

using Counts = std::array<std::uint64_t, kSymbols>;
using Lengths = std::array<std::uint8_t, kSymbols>;

constexpr unsigned symbol_of(FloatKind kind, std::uint16_t number) {
  return kind == FloatKind::kBfloat16 ? number >> 7 & 0xFFu : number >> 8;
}
constexpr std::uint8_t raw_of(FloatKind kind, std::uint16_t number) {
  if (kind == FloatKind::kFloat16) return static_cast<std::uint8_t>(number);
  return static_cast<std::uint8_t>((number >> 8 & 0x80) | (number & 0x7F));
}
constexpr std::uint16_t number_of(FloatKind kind, unsigned symbol, unsigned raw) {
  if (kind == FloatKind::kFloat16) return static_cast<std::uint16_t>(symbol << 8 | raw);
  return static_cast<std::uint16_t>((raw & 0x80) << 8 | symbol << 7 | (raw & 0x7F));
}

// Depths of Huffman's tree; ties go to the lower symbol, then to the older node.
Lengths tree_lengths(const Counts& counts) {
  using Node = std::pair<std::uint64_t, int>;  // weight, number: symbols first, then inner nodes
  std::priority_queue<Node, std::vector<Node>, std::greater<>> queue;
  for (int s = 0; s < kSymbols; ++s)
    if (counts[s] > 0) queue.push({counts[s], s});
  Lengths lengths{};
  if (queue.size() == 1) lengths[static_cast<std::size_t>(queue.top().second)] = 1;
  std::array<int, 2 * kSymbols> parent{};
  int next = kSymbols;
  while (queue.size() > 1) {
    const Node a = queue.top();
    queue.pop();
    const Node b = queue.top();
    queue.pop();
    parent[static_cast<std::size_t>(a.second)] = parent[static_cast<std::size_t>(b.second)] = next;
    queue.push({a.first + b.first, next++});
  }
  for (int s = 0; s < kSymbols; ++s) {
    if (counts[s] == 0 || next == kSymbols) continue;
    int depth = 0;
    for (int node = s; node != next - 1; node = parent[static_cast<std::size_t>(node)]) ++depth;
    lengths[static_cast<std::size_t>(s)] = static_cast<std::uint8_t>(std::min(depth, 255));
  }
  return lengths;
}

// At most kLongest: rare symbols are counted as if they were less rare, until it fits.
Lengths code_lengths(Counts counts) {
  for (;;) {
    const Lengths lengths = tree_lengths(counts);
    if (*std::max_element(lengths.begin(), lengths.end()) <= kLongest) return lengths;
    for (std::uint64_t& count : counts)
      if (count > 0) count = count / 2 + 1;
  }
}

// First codes in order of length, then symbol; left-aligned in kLongest bits. False where the lengths are no code.
bool assign_codes(const Lengths& lengths, std::array<std::uint16_t, kSymbols>& codes) {
  unsigned next = 0;
  for (int length = 1; length <= kLongest; ++length) {
    for (int s = 0; s < kSymbols; ++s) {
      if (lengths[static_cast<std::size_t>(s)] != length) continue;
      if (next >= 1u << kLongest) return false;
      codes[static_cast<std::size_t>(s)] = static_cast<std::uint16_t>(next);
      next += 1u << (kLongest - length);
    }
  }
  return next <= 1u << kLongest;
}

// Serial in two additions a number, and every changed, missing or moved number shows.
class CheckSum {
 public:
  void add(std::uint16_t number) {
    first_ += number + 1u;
    second_ += first_;
  }
  void begin(std::uint32_t first, std::uint32_t second) { first_ = first, second_ = second; }
  std::uint32_t value() const { return first_ * 31 + second_; }

 private:
  std::uint32_t first_ = 0, second_ = 0;
};

Counts count_symbols(FloatKind kind, std::span<const std::uint16_t> numbers) {
  Counts counts{};
  for (std::uint16_t number : numbers) ++counts[symbol_of(kind, number)];
  return counts;
}

std::uint64_t block_count(std::uint64_t count) { return (count + kFloatBlock - 1) / kFloatBlock; }

std::uint64_t code_bytes(FloatKind kind, std::span<const std::uint16_t> block, const Lengths& lengths) {
  std::uint64_t bits = 0;
  for (std::uint16_t number : block) bits += lengths[symbol_of(kind, number)];
  return (bits + 7) / 8;
}

template <typename T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
template <typename T>
T take(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

tl::unexpected<Error> corrupt(std::string message) {
  return fail(ErrorCode::kCorrupt, std::move(message),
              "The file is damaged: fetch it again, or make it again from its source.");
}

using Table = std::vector<std::uint32_t>;
constexpr unsigned entry_count(std::uint32_t entry) { return entry >> 24 & 3; }
constexpr unsigned entry_bits(std::uint32_t entry) { return entry >> 26; }

// FloatCode::table_ of a code.
Table make_table(const Lengths& lengths, const std::array<std::uint16_t, kSymbols>& codes) {
  std::vector<std::uint16_t> single(std::size_t{1} << kLongest, 0);  // length << 8 | symbol
  for (std::size_t s = 0; s < kSymbols; ++s)
    if (lengths[s] > 0)
      std::fill_n(single.begin() + codes[s], std::size_t{1} << (kLongest - lengths[s]),
                  static_cast<std::uint16_t>(lengths[s] << 8 | s));
  Table table(single.size());
  for (std::size_t bits = 0; bits < table.size(); ++bits) {
    unsigned used = 0, count = 0, symbols = 0;
    while (count < 3) {
      const unsigned next = single[bits << used & (table.size() - 1)];
      if (next == 0 || used + (next >> 8) > kLongest) break;
      symbols |= (next & 0xFF) << (8 * count++);
      used += next >> 8;
    }
    table[bits] = count == 0 ? 0 : symbols | count << 24 | used << 26;
  }
  return table;
}

// Reads codes from the most significant bit on; bits past the end are zeros.
class BitReader {
 public:
  BitReader(const std::uint8_t* begin, const std::uint8_t* end) : begin_(begin), bits_(8 * (end - begin)) {}
  /// The next 64 bits, of which 57 are valid.
  std::uint64_t window() const {
    const std::ptrdiff_t at = used_ >> 3;
    std::uint64_t bytes = 0;
    if (8 * at + 64 <= bits_) {
      bytes = __builtin_bswap64(take<std::uint64_t>(begin_ + at));
    } else {
      for (std::ptrdiff_t i = 0; i < 8 && 8 * (at + i) < bits_; ++i)
        bytes |= std::uint64_t{begin_[at + i]} << (56 - 8 * i);
    }
    return bytes << (used_ & 7);
  }
  void skip(std::ptrdiff_t bits) { used_ += bits; }
  /// Nothing but the padding of the last byte is left, and not more was read than there was.
  bool finished() const { return used_ <= bits_ && bits_ - used_ < 8 && window() == 0; }

 private:
  const std::uint8_t* begin_;
  std::ptrdiff_t bits_, used_ = 0;
};

// A block's symbols on the way out of its codes.
class SymbolReader {
 public:
  SymbolReader(const std::uint32_t* table, BitReader reader, std::size_t count)
      : table_(table), reader_(reader), count_(count) {}
  const std::uint8_t* symbols() const { return symbols_; }

  /// Whether step() has room for all that it may read.
  bool is_far_from_end() const { return done_ + 3 * kSteps <= count_; }
  /// Some look-ups in one window. False where no code begins.
  bool step() {
    std::uint64_t window = reader_.window();
    unsigned bits = 0;
    for (int i = 0; i < kSteps; ++i) {
      const std::uint32_t entry = table_[window >> (64 - kLongest)];
      std::memcpy(symbols_ + done_, &entry, sizeof entry);  // what is beyond its symbols is overwritten by the next
      done_ += entry_count(entry);
      window <<= entry_bits(entry);
      bits += entry_bits(entry);
    }
    reader_.skip(bits);
    return bits != 0;
  }
  /// All others. False where no code begins, or the bits do not end with the last.
  bool finish(const Lengths& lengths) {
    while (is_far_from_end())
      if (!step()) return false;
    for (; done_ < count_; ++done_) {
      const std::uint32_t entry = table_[reader_.window() >> (64 - kLongest)];
      if (entry == 0) return false;
      symbols_[done_] = static_cast<std::uint8_t>(entry);
      reader_.skip(lengths[symbols_[done_]]);
    }
    return reader_.finished();
  }

 private:
  static constexpr int kSteps = 4;  // 12 bits each of a window's 57

  const std::uint32_t* table_;
  BitReader reader_;
  std::size_t count_, done_ = 0;
  std::uint8_t symbols_[kFloatBlock + sizeof(std::uint32_t)];
};

// Numbers from their two bytes.
template <FloatKind Kind>
void join(const std::uint8_t* symbols, const std::uint8_t* raw, std::size_t count, std::uint16_t* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = number_of(Kind, symbols[i], raw[i]);
}

// CheckSum of numbers in many lanes: each number is in the second sum as often as there are numbers from it on.
std::uint32_t check_sum(const std::uint16_t* numbers, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  std::uint32_t first[kLanes] = {}, second[kLanes] = {};
  const std::size_t whole = count / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) first[lane] += numbers[i + lane] + 1u;
    for (std::size_t lane = 0; lane < kLanes; ++lane) second[lane] += first[lane];
  }
  std::uint32_t sum = 0, weighted = 0;
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    sum += first[lane];
    weighted += kLanes * second[lane] - lane * first[lane];
  }
  CheckSum all;
  all.begin(sum, weighted);
  for (std::size_t i = whole; i < count; ++i) all.add(numbers[i]);
  return all.value();
}

}  // namespace

FloatCodeSize float_code_size(FloatKind kind, std::span<const std::uint16_t> numbers) {
  const Counts counts = count_symbols(kind, numbers);
  const Lengths lengths = code_lengths(counts);
  FloatCodeSize size;
  size.bytes = kIndexAt + 8 * block_count(numbers.size()) + numbers.size();
  for (std::size_t at = 0; at < numbers.size(); at += kFloatBlock)
    size.bytes +=
        code_bytes(kind, numbers.subspan(at, std::min<std::size_t>(kFloatBlock, numbers.size() - at)), lengths);
  for (std::uint64_t count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(numbers.size());
    size.entropy_bits -= share * std::log2(share);
  }
  return size;
}

Result<std::vector<std::byte>> encode_floats(FloatKind kind, std::span<const std::uint16_t> numbers) {
  const std::uint64_t blocks = block_count(numbers.size());
  const Lengths lengths = code_lengths(count_symbols(kind, numbers));
  std::array<std::uint16_t, kSymbols> codes{};
  assign_codes(lengths, codes);
  const std::uint64_t raw_at = kIndexAt + 8 * blocks, codes_at = raw_at + numbers.size();
  std::vector<std::byte> out(float_code_size(kind, numbers).bytes);
  if (out.size() - codes_at > UINT32_MAX || blocks > UINT32_MAX)
    return fail(ErrorCode::kUnsupported, "a tensor of more than 4 GiB of codes", "Leave it as it is.");
  std::memcpy(out.data(), kMagic, sizeof kMagic);
  out[4] = static_cast<std::byte>(kind);
  put<std::uint64_t>(&out[8], numbers.size());
  put<std::uint32_t>(&out[16], kFloatBlock);
  put<std::uint32_t>(&out[20], static_cast<std::uint32_t>(blocks));
  for (std::size_t s = 0; s < kSymbols; s += 2)
    out[kLengthsAt + s / 2] = static_cast<std::byte>(lengths[s] | lengths[s + 1] << 4);
  std::byte* to = out.data() + codes_at;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    const std::size_t begin = block * kFloatBlock, end = std::min<std::size_t>(begin + kFloatBlock, numbers.size());
    CheckSum sum;
    std::uint64_t window = 0;
    int held = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const unsigned symbol = symbol_of(kind, numbers[i]);
      out[raw_at + i] = static_cast<std::byte>(raw_of(kind, numbers[i]));
      sum.add(numbers[i]);
      window = window << lengths[symbol] | codes[symbol] >> (kLongest - lengths[symbol]);
      held += lengths[symbol];
      for (; held >= 8; held -= 8) *to++ = static_cast<std::byte>(window >> (held - 8));
    }
    if (held > 0) *to++ = static_cast<std::byte>(window << (8 - held));
    put<std::uint32_t>(&out[kIndexAt + 8 * block], static_cast<std::uint32_t>(to - out.data() - codes_at));
    put<std::uint32_t>(&out[kIndexAt + 8 * block + 4], sum.value());
  }
  return out;
}

Result<FloatCode> FloatCode::open(std::span<const std::byte> bytes, FloatKind kind, std::uint64_t count) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(bytes.data());
  if (bytes.size() < kIndexAt || std::memcmp(at, kMagic, sizeof kMagic) != 0)
    return corrupt("coded numbers do not begin as such");
  FloatCode code;
  code.kind_ = kind;
  code.count_ = count;
  const std::uint64_t blocks = block_count(count);
  if (at[4] != static_cast<std::uint8_t>(kind) || at[5] != 0 || take<std::uint16_t>(at + 6) != 0 ||
      take<std::uint64_t>(at + 8) != count || take<std::uint32_t>(at + 16) != kFloatBlock ||
      take<std::uint32_t>(at + 20) != blocks)
    return corrupt("the header of coded numbers is not that of this tensor");
  if (count > bytes.size() || 8 * blocks > bytes.size() - count || kIndexAt + 8 * blocks + count > bytes.size())
    return corrupt("coded numbers are cut short");
  code.blocks_ = static_cast<std::uint32_t>(blocks);
  code.index_ = at + kIndexAt;
  code.raw_ = code.index_ + 8 * blocks;
  code.codes_ = code.raw_ + count;
  const std::uint64_t size = code.codes_size_ = bytes.size() - static_cast<std::uint64_t>(code.codes_ - at);
  std::uint32_t before = 0;
  for (std::uint64_t b = 0; b < blocks; ++b) {
    const auto end = take<std::uint32_t>(code.index_ + 8 * b);
    if (end < before || end > size) return corrupt("a block of coded numbers has no place");
    before = end;
  }
  if (before != size) return corrupt("coded numbers do not end with their last block");
  Lengths& lengths = code.lengths_;
  for (std::size_t s = 0; s < kSymbols; ++s) lengths[s] = at[kLengthsAt + s / 2] >> (s % 2 * 4) & 15;
  std::array<std::uint16_t, kSymbols> codes{};
  if (*std::max_element(lengths.begin(), lengths.end()) > kLongest || !assign_codes(lengths, codes))
    return corrupt("the code lengths of coded numbers are no code");
  code.table_ = make_table(lengths, codes);
  return code;
}

Result<void> FloatCode::decode_blocks(std::uint32_t first, std::uint32_t count, std::uint16_t* out) const {
  const auto size_of = [&](std::uint32_t block) {
    return std::min<std::uint64_t>(kFloatBlock, count_ - std::uint64_t{block} * kFloatBlock);
  };
  // The index may lie in a mapped file, which another program may change after open() has checked it.
  const auto end_of = [&](std::uint32_t block) {
    return std::min<std::uint64_t>(codes_size_, take<std::uint32_t>(index_ + 8 * std::uint64_t{block}));
  };
  const auto reader_of = [&](std::uint32_t block) {
    const std::uint8_t* const from = codes_ + (block == 0 ? 0 : end_of(block - 1));
    return SymbolReader(table_.data(), BitReader(from, codes_ + end_of(block)), size_of(block));
  };
  const auto finish = [&](std::uint32_t block, SymbolReader& reader) -> Result<void> {
    const std::uint8_t* raw = raw_ + std::uint64_t{block} * kFloatBlock;
    std::uint16_t* const to = out + std::uint64_t{block - first} * kFloatBlock;
    const bool known = reader.finish(lengths_);
    if (known && kind_ == FloatKind::kBfloat16) join<FloatKind::kBfloat16>(reader.symbols(), raw, size_of(block), to);
    if (known && kind_ == FloatKind::kFloat16) join<FloatKind::kFloat16>(reader.symbols(), raw, size_of(block), to);
    if (known && check_sum(to, size_of(block)) == take<std::uint32_t>(index_ + 8 * std::uint64_t{block} + 4)) return {};
    return corrupt("block " + std::to_string(block) + " of coded numbers is damaged");
  };
  std::uint32_t block = first;
  for (; block + 1 < first + count; block += 2) {
    SymbolReader one = reader_of(block), other = reader_of(block + 1);
    while (one.is_far_from_end() && other.is_far_from_end()) {
      const bool known = one.step();
      if (!other.step() || !known) break;
    }
    KINGLET_CHECK(finish(block, one));
    KINGLET_CHECK(finish(block + 1, other));
  }
  if (block < first + count) {
    SymbolReader last = reader_of(block);
    KINGLET_CHECK(finish(block, last));
  }
  return {};
}

Result<void> FloatCode::decode_block(std::uint32_t block, std::uint16_t* out) const {
  return decode_blocks(block, 1, out);
}

Result<void> FloatCode::decode_all(std::span<std::uint16_t> out) const { return decode_blocks(0, blocks_, out.data()); }

}  // namespace kinglet
