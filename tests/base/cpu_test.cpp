#include "base/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace kinglet {
namespace {

TEST(Cpu, EveryMachineRunsTheScalarKernels) {
  ASSERT_FALSE(supported_isas().empty());
  EXPECT_EQ(supported_isas().front(), Isa::kScalar);
  EXPECT_TRUE(isa_supported(Isa::kScalar));
}

TEST(Cpu, AnEmptyNameMeansTheBestOfTheMachine) {
  auto isa = choose_isa("");
  ASSERT_TRUE(isa);
  EXPECT_EQ(*isa, supported_isas().back());
}

TEST(Cpu, EachNameGivesItsIsaOrAnErrorThatListsWhatThereIs) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    auto chosen = choose_isa(isa_name(isa));
    if (isa_supported(isa)) {
      ASSERT_TRUE(chosen) << isa_name(isa);
      EXPECT_EQ(*chosen, isa);
    } else {
      ASSERT_FALSE(chosen) << isa_name(isa);
      EXPECT_EQ(chosen.error().code, ErrorCode::kUnsupported);
      EXPECT_NE(chosen.error().hint.find("scalar"), std::string::npos);
    }
  }
}

TEST(Cpu, NoMachineHasBothX86AndArm) {
  EXPECT_FALSE(isa_supported(Isa::kNeon) && isa_supported(Isa::kAvx2));
  if (isa_supported(Isa::kAvx512)) EXPECT_TRUE(isa_supported(Isa::kAvx2));
}

TEST(Cpu, AnUnknownWordIsAnInvalidArgument) {
  for (const char* word : {"sse2", "AVX2", "avx512 ", "best"}) {
    auto chosen = choose_isa(word);
    ASSERT_FALSE(chosen) << word;
    EXPECT_EQ(chosen.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(chosen.error().message.find(word), std::string::npos);
    EXPECT_NE(chosen.error().hint.find("scalar"), std::string::npos);
  }
}

TEST(Cpu, TheActiveIsaIsTheRequestedOne) {
  const char* wanted = std::getenv("KINGLET_ISA");
  EXPECT_EQ(requested_isa().has_value(), choose_isa(wanted == nullptr ? "" : wanted).has_value());
  EXPECT_EQ(active_isa(), requested_isa() ? *requested_isa() : supported_isas().back());
}

}  // namespace
}  // namespace kinglet
