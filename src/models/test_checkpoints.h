// A tiny checkpoint of every family in every kind of numerics, for the tests of models and runtime.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "models/test_attention.h"
#include "models/test_codes.h"
#include "models/test_int8.h"
#include "models/test_support.h"

namespace krait {

inline constexpr std::int64_t kTokens = 45, kVocab = 61;
inline const TinyMamba kSizes{.V = kVocab, .D = 40, .E = 72, .N = 7, .R = 5};
inline const TinyMamba2 kSizes2{.V = kVocab, .D = 40, .H = 6, .P = 12, .G = 2, .N = 7};
inline const TinyJamba kJamba{.V = kVocab, .D = 36, .F = 40};
inline const TinyNeox kNeox{.V = kVocab, .D = 40, .heads = 4, .F = 72};

/// Static with an int8 state and a scale per channel at every site that feeds no product.
inline TestCheckpoint with_channel_scales(const TestCheckpoint& base) {
  const auto ids = random_ids(4, kTokens, kVocab);
  TestCheckpoint result = quantize_by_hand(base, HandScheme::static_tensor, ids);
  Json& activations = result.config["quantization_config"]["krait"]["activations"];
  Rng rng(8);
  for (const ActivationSite& site : describe_model(base.config, *base.source()).activations) {
    if (site.role.ends_with(".input") && site.role != "conv1d.input") continue;
    if (site.is_cache) continue;
    activations[site.role] = {{"bits", 8}, {"type", "int"}, {"strategy", "channel"}};
    std::vector<float> scale(static_cast<std::size_t>(site.channels));
    for (float& s : scale) s = static_cast<float>(0.01 + 0.05 * rng.uniform());
    result.tensors[site.name + "_scale"] = test_tensor({site.channels}, scale);
  }
  return result;
}

/// int8 with a cache of int8 rows.
inline TestCheckpoint with_int8_cache(const TestCheckpoint& base) {
  const auto ids = random_ids(4, kTokens, kVocab);
  TestCheckpoint result = quantize_by_hand(base, HandScheme::dynamic_token, ids);
  for (const char* role : {"k_cache", "v_cache"}) {
    result.config["quantization_config"]["krait"]["activations"][role] = {
        {"bits", 8}, {"type", "int"}, {"strategy", "token"}, {"dynamic", true}};
  }
  return result;
}

/// Float but for an int8 state: rows with scales of their own.
inline TestCheckpoint with_state_rows(TestCheckpoint checkpoint) {
  checkpoint.config["quantization_config"]["krait"]["activations"]["ssm_state"] = {
      {"bits", 8}, {"strategy", "channel"}, {"dynamic", true}};
  return checkpoint;
}

/// Float but for an int8 state: static scales by groups of channels, which differ from head to
/// head.
inline TestCheckpoint with_state_groups(TestCheckpoint checkpoint) {
  Rng rng(9);
  for (const ActivationSite& site :
       describe_model(checkpoint.config, *checkpoint.source()).activations) {
    if (!site.is_state) continue;
    constexpr std::int64_t kGroups = 7;
    std::vector<float> scale(static_cast<std::size_t>(kGroups * site.states));
    for (float& s : scale) s = static_cast<float>(0.01 + 0.05 * rng.uniform());
    Tensor group(DType::i32, {site.channels});
    for (std::int64_t c = 0; c < site.channels; ++c) {
      group.mutable_as<std::int32_t>()[static_cast<std::size_t>(c)] =
          static_cast<std::int32_t>((c * 5 / 3 + c / kSizes2.P) % kGroups);
    }
    checkpoint.tensors[site.name + "_scale"] = test_tensor({kGroups, site.states}, scale);
    checkpoint.tensors[site.name + "_group"] = group;
  }
  checkpoint.config["quantization_config"]["krait"]["activations"]["ssm_state"] = {
      {"bits", 8}, {"strategy", "group"}};
  return checkpoint;
}

/// A model with odd sizes, or with those that codes fill.
inline TestCheckpoint model_of(std::string_view family, DType dtype, bool for_codes) {
  TinyMamba mamba = for_codes ? TinyMamba{.V = kVocab, .D = 48, .E = 80} : kSizes;
  TinyMamba2 mamba2 =
      for_codes ? TinyMamba2{.V = kVocab, .D = 48, .H = 6, .P = 16, .tied = false} : kSizes2;
  TinyNeox neox = for_codes ? TinyNeox{.V = kVocab, .D = 32, .heads = 2, .F = 64} : kNeox;
  TinyJamba jamba = for_codes ? TinyJamba{.V = kVocab, .D = 48, .F = 32} : kJamba;
  TinyBamba bamba = for_codes
                        ? TinyBamba{.V = kVocab, .D = 48, .heads = 6, .F = 32, .mamba_heads = 6}
                        : TinyBamba{.V = kVocab};
  mamba.dtype = mamba2.dtype = neox.dtype = jamba.dtype = bamba.dtype = dtype;
  if (family == "mamba") return tiny_mamba(mamba);
  if (family == "mamba2") return tiny_mamba2(mamba2);
  if (family == "bamba") return tiny_bamba(bamba);
  return family == "neox" ? tiny_neox(neox) : tiny_jamba(jamba);
}

/// FAMILY_NUMERICS. No checkpoint is made for a name.
inline std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const char* family : {"mamba", "mamba2", "neox", "jamba", "bamba"}) {
    for (const char* numerics : {"f32", "bf16", "static_tensor", "static_tensor_rotated",
                                 "dynamic_token", "dynamic_token_rotated", "dynamic_tensor",
                                 "dynamic_tensor_rotated", "static_channel", "codes"}) {
      names.push_back(fmt::format("{}_{}", family, numerics));
    }
  }
  for (const char* name : {"mamba2_state_rows", "mamba2_state_groups", "neox_int8_cache",
                           "jamba_int8_cache", "bamba_state_rows", "bamba_int8_cache"}) {
    names.emplace_back(name);
  }
  return names;
}

inline TestCheckpoint make_checkpoint(const std::string& name) {
  const std::size_t cut = name.find('_');
  const std::string family = name.substr(0, cut), numerics = name.substr(cut + 1);
  const auto ids = random_ids(4, kTokens, kVocab);
  const TestCheckpoint base =
      model_of(family, numerics == "bf16" ? DType::bf16 : DType::f32, numerics == "codes");
  if (numerics == "f32" || numerics == "bf16") return base;
  if (numerics == "codes") return code_by_hand(base, ids).coded;
  if (numerics == "static_channel") return with_channel_scales(base);
  if (numerics == "int8_cache") return with_int8_cache(base);
  if (numerics == "state_rows") return with_state_rows(base);
  if (numerics == "state_groups") return with_state_groups(base);
  for (const HandScheme scheme :
       {HandScheme::static_tensor, HandScheme::dynamic_token, HandScheme::dynamic_tensor}) {
    if (!numerics.starts_with(name_of(scheme))) continue;
    return quantize_by_hand(base, scheme, ids, numerics.ends_with("_rotated"));
  }
  fail(ErrorCode::invalid_argument, "no numerics {}", numerics);
}

/// Each is made once, when the first test asks for it.
inline const TestCheckpoint& checkpoint_of(const std::string& name) {
  static std::map<std::string, TestCheckpoint> made;
  const auto it = made.find(name);
  return it != made.end() ? it->second : made.emplace(name, make_checkpoint(name)).first->second;
}

}  // namespace krait
