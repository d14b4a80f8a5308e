// Which instruction set the kernels use: the best that machine and operating system have, or what KINGLET_ISA says.
#pragma once

#include <span>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// The families of kernels. The values of a computation do not depend on the choice, only its speed.
enum class Isa {
  kScalar,  ///< portable C++
  kAvx2,    ///< AVX2, FMA, F16C, BMI2
  kAvx512,  ///< AVX-512 F BW CD DQ VL, VBMI, VNNI, BF16
  kNeon,    ///< Armv8.2 with dot product and half precision
};

/// "scalar", "avx2", "avx512", "neon": as KINGLET_ISA takes them.
std::string_view isa_name(Isa isa);

/// What this machine runs, from the slowest to the best; never empty.
std::span<const Isa> supported_isas();
bool isa_supported(Isa isa);

/// By name, "" being the best. kInvalidArgument for a word that is none, kUnsupported for one that the machine lacks;
/// the hint lists what it has.
Result<Isa> choose_isa(std::string_view name);

/// What KINGLET_ISA asks for, read once. Programs report its error before they compute anything.
const Result<Isa>& requested_isa();

/// requested_isa(), or the best of the machine where that is an error. Constant for the life of the process.
Isa active_isa();

}  // namespace kinglet
