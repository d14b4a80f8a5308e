// Little-endian fields of a block, at any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace kinglet {

inline std::uint16_t load_u16(const std::uint8_t* at) { return static_cast<std::uint16_t>(at[0] | at[1] << 8); }
inline std::uint32_t load_u32(const std::uint8_t* at) { return load_u16(at) | std::uint32_t{load_u16(at + 2)} << 16; }
inline float load_f16(const std::uint8_t* at) { return f16_to_f32(load_u16(at)); }

inline void store_u16(std::uint8_t* at, std::uint16_t value) {
  at[0] = static_cast<std::uint8_t>(value);
  at[1] = static_cast<std::uint8_t>(value >> 8);
}
inline void store_u32(std::uint8_t* at, std::uint32_t value) {
  store_u16(at, static_cast<std::uint16_t>(value));
  store_u16(at + 2, static_cast<std::uint16_t>(value >> 16));
}

inline const std::uint8_t* octets(const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); }
inline std::uint8_t* octets(std::byte* data) { return reinterpret_cast<std::uint8_t*>(data); }

}  // namespace kinglet
