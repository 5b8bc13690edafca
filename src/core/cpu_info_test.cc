#include "core/cpu_info.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "krait/error.h"

namespace krait {
namespace {

/// Sets KRAIT_ISA for one test.
class IsaOverride : public testing::Test {
 protected:
  IsaOverride() {
    if (const char* value = std::getenv("KRAIT_ISA")) before_ = value;
    ::unsetenv("KRAIT_ISA");
  }
  ~IsaOverride() override {
    if (before_) {
      ::setenv("KRAIT_ISA", before_->c_str(), 1);
    } else {
      ::unsetenv("KRAIT_ISA");
    }
  }
  static std::string error_for(const std::string& value) {
    ::setenv("KRAIT_ISA", value.c_str(), 1);
    try {
      select_isa();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  }
  std::optional<std::string> before_;
};

TEST_F(IsaOverride, DefaultIsTheBestOfThisCpu) {
  Isa best = Isa::reference;
  for (const Isa isa : all_isas()) {
    if (cpu_supports(isa)) best = isa;
  }
  EXPECT_EQ(select_isa(), best);
  ::setenv("KRAIT_ISA", "", 1);
  EXPECT_EQ(select_isa(), best);
}

TEST_F(IsaOverride, SupportedLevelsAreTakenAndOthersRefused) {
  for (const Isa isa : all_isas()) {
    const std::string name(name_of(isa));
    if (cpu_supports(isa)) {
      ::setenv("KRAIT_ISA", name.c_str(), 1);
      EXPECT_EQ(select_isa(), isa);
    } else {
      EXPECT_NE(error_for(name).find(name + " is not supported by this CPU"), std::string::npos);
    }
  }
}

TEST_F(IsaOverride, UnknownNamesAreRefusedWithTheChoices) {
  for (const char* name : {"avx3", "AVX2", "avx2 "}) {
    const std::string error = error_for(name);
    EXPECT_NE(error.find(name), std::string::npos) << error;
    EXPECT_NE(error.find("this CPU can do: reference"), std::string::npos) << error;
  }
}

TEST(CpuInfo, ReferenceIsAlwaysThere) {
  EXPECT_TRUE(cpu_supports(Isa::reference));
  EXPECT_EQ(all_isas().front(), Isa::reference);
  EXPECT_FALSE(cpu_name().empty());
}

TEST(CpuInfo, OnlyLevelsOfThisArchitectureAreSupported) {
  for (const Isa isa : {Isa::reference, Isa::avx2, Isa::avx_vnni, Isa::avx512_vnni, Isa::neon,
                        Isa::neon_dotprod, Isa::neon_i8mm}) {
    const bool built = std::ranges::find(all_isas(), isa) != all_isas().end();
    EXPECT_TRUE(built || !cpu_supports(isa)) << name_of(isa);
    EXPECT_EQ(name_of(isa).find('?'), std::string_view::npos);
  }
}

// There are CPUs with AVX-512 VNNI and not AVX-VNNI.
TEST(CpuInfo, LevelsHaveWhatTheirKernelsTakeFromOthers) {
  for (const auto& [isa, base] : {std::pair{Isa::avx_vnni, Isa::avx2},
                                  {Isa::avx512_vnni, Isa::avx2},
                                  {Isa::neon_dotprod, Isa::neon},
                                  {Isa::neon_i8mm, Isa::neon_dotprod}}) {
    EXPECT_TRUE(cpu_supports(base) || !cpu_supports(isa)) << name_of(isa);
  }
}

}  // namespace
}  // namespace krait
