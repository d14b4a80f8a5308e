#include "base/cpu.h"

#include <cstdlib>
#include <string>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace kinglet {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon};

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the wide registers (XGETBV). The lists are those
// of the compiler flags in CMakeLists.txt: a kernel file may use anything that its flags allow.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("lzcnt") &&
         __builtin_cpu_supports("movbe") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#endif

std::vector<Isa> detect() {
  std::vector<Isa> found = {Isa::kScalar};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_avx2()) found.push_back(Isa::kAvx2);
  if (has_avx512()) found.push_back(Isa::kAvx512);
#elif defined(__aarch64__) && defined(__linux__)
  // The bits of Linux's asm/hwcap.h: FPHP, ASIMDHP, ASIMDDP.
  constexpr unsigned long kNeeded = (1ul << 9) | (1ul << 10) | (1ul << 20);
  if ((getauxval(AT_HWCAP) & kNeeded) == kNeeded) found.push_back(Isa::kNeon);
#elif defined(__aarch64__) && defined(__APPLE__)
  found.push_back(Isa::kNeon);
#endif
  return found;
}

std::string list_of(std::span<const Isa> isas) {
  std::string text;
  for (Isa isa : isas) {
    if (!text.empty()) text += ", ";
    text += isa_name(isa);
  }
  return text;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
  }
  return "unknown";
}

std::span<const Isa> supported_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

bool isa_supported(Isa isa) {
  for (Isa supported : supported_isas())
    if (supported == isa) return true;
  return false;
}

Result<Isa> choose_isa(std::string_view name) {
  if (name.empty()) return supported_isas().back();
  for (Isa isa : kAll) {
    if (isa_name(isa) != name) continue;
    if (isa_supported(isa)) return isa;
    return fail(ErrorCode::kUnsupported, "this machine does not run the instruction set " + std::string(name),
                "It has: " + list_of(supported_isas()) + ".", "KINGLET_ISA");
  }
  return fail(ErrorCode::kInvalidArgument,
              "expected an instruction set (" + list_of(kAll) + "), found '" + std::string(name) + "'",
              "This machine has: " + list_of(supported_isas()) + ".", "KINGLET_ISA");
}

const Result<Isa>& requested_isa() {
  static const Result<Isa> requested = [] {
    const char* wanted = std::getenv("KINGLET_ISA");
    return choose_isa(wanted == nullptr ? "" : wanted);
  }();
  return requested;
}

Isa active_isa() {
  static const Isa active = requested_isa() ? *requested_isa() : supported_isas().back();
  return active;
}

}  // namespace kinglet
