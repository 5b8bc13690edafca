#include "core/cpu_info.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

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

TEST(CpuInfo, ReferenceIsAlwaysThereAndLevelsAreOrdered) {
  EXPECT_TRUE(cpu_supports(Isa::reference));
  EXPECT_FALSE(all_isas().empty());
  bool lower = true;
  for (const Isa isa : all_isas()) {
    EXPECT_TRUE(lower || !cpu_supports(isa)) << name_of(isa) << " without the level below";
    lower = cpu_supports(isa);
  }
  EXPECT_FALSE(cpu_name().empty());
}

}  // namespace
}  // namespace krait
