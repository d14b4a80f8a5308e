#include "tensor/kernels/attention.h"

#include <cmath>
#include <cstring>

namespace kinglet {

namespace isa_scalar {
extern const AttentionKernels attention_table;
}
namespace isa_avx2 {
extern const AttentionKernels attention_table;
}
namespace isa_avx512 {
extern const AttentionKernels attention_table;
}
namespace isa_neon {
extern const AttentionKernels attention_table;
}

const AttentionKernels* attention_kernels(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return &isa_scalar::attention_table;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return &isa_avx2::attention_table;
    case Isa::kAvx512:
      return &isa_avx512::attention_table;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return &isa_neon::attention_table;
#endif
    default:
      return nullptr;
  }
}

const AttentionKernels& attention() {
  static const AttentionKernels& table = *attention_kernels(active_isa());
  return table;
}

int KvLayout::element_bits() const {
  switch (storage) {
    case KvStorage::kF16:
    case KvStorage::kBf16:
      return 16;
    case KvStorage::kInt8:
      return 8;
    case KvStorage::kInt4:
      return 4;
    default:
      return 32;
  }
}

std::size_t KvLayout::key_scale_offset() const {
  const auto even = static_cast<std::size_t>(key_length + key_length % 2);
  return (even * kKvGroup * static_cast<std::size_t>(element_bits()) / 8 + 63) / 64 * 64;
}

std::size_t KvLayout::value_scale_offset() const {
  return (static_cast<std::size_t>(value_stride()) * kKvGroup * static_cast<std::size_t>(element_bits()) / 8 + 63) /
         64 * 64;
}

void mix(float* x, int n) {
  const int block = n & -n;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
  for (float* at = x; at < x + n; at += block) {
    for (int half = 1; half < block; half *= 2)
      for (int i = 0; i < block; i += 2 * half)
        for (int j = i; j < i + half; ++j) {
          const float a = at[j], b = at[j + half];
          at[j] = a + b;
          at[j + half] = a - b;
        }
    for (int i = 0; i < block; ++i) at[i] *= scale;
  }
}

namespace {

template <typename T>
void copy_lane(int key_length, const std::byte* from, int from_lane, std::byte* to, int to_lane) {
  const T* source = reinterpret_cast<const T*>(from) + from_lane;
  T* target = reinterpret_cast<T*>(to) + to_lane;
  for (int d = 0; d < key_length; ++d) target[d * kKvGroup] = source[d * kKvGroup];
}

void copy_scale(const std::byte* from, int from_lane, std::byte* to, int to_lane) {
  std::memcpy(to + 4 * to_lane, from + 4 * from_lane, 4);
}

}  // namespace

void copy_key(const KvLayout& layout, const std::byte* from, int from_lane, std::byte* to, int to_lane) {
  switch (layout.element_bits()) {
    case 4:
      copy_lane<std::uint8_t>((layout.key_length + 1) / 2, from, from_lane, to, to_lane);
      break;
    case 8:
      copy_lane<std::uint8_t>(layout.key_length, from, from_lane, to, to_lane);
      break;
    case 16:
      copy_lane<std::uint16_t>(layout.key_length, from, from_lane, to, to_lane);
      break;
    default:
      copy_lane<std::uint32_t>(layout.key_length, from, from_lane, to, to_lane);
      break;
  }
  const std::size_t scales = layout.key_scale_offset();
  if (layout.scaled()) copy_scale(from + scales, from_lane, to + scales, to_lane);
}

void copy_value(const KvLayout& layout, const std::byte* from, int from_lane, std::byte* to, int to_lane) {
  const std::size_t row = static_cast<std::size_t>(layout.value_stride() * layout.element_bits() / 8);
  std::memcpy(to + row * static_cast<std::size_t>(to_lane), from + row * static_cast<std::size_t>(from_lane), row);
  const std::size_t scales = layout.value_scale_offset();
  if (layout.scaled()) copy_scale(from + scales, from_lane, to + scales, to_lane);
}

}  // namespace kinglet
