#include "report/results.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/file.h"
#include "io/test_support.h"
#include "report/by_model.h"

namespace krait {
namespace {

Json result_of(const std::string& recipe, double bytes, int seq_len = 512) {
  return {{"spec",
           {{"model", "m"},
            {"model_sha256", "sha256:1"},
            {"recipe", {{"name", recipe}}},
            {"settings", {{"text", Json::array({{{"name", "t"}, {"seq_len", seq_len}}})}}}}},
          {"bytes", bytes},
          {"texts", {{"t", {{"kl_mean", 0.5}}}}}};
}

void write(const TemporaryDirectory& directory, const std::string& name, const Json& result) {
  write_file_atomic(directory / (name + ".json"), result.dump());
}

TEST(Results, JoinDirectoriesAndPreferWhatSucceeded) {
  const TemporaryDirectory one, two;
  Json failed = result_of("b", 1);
  failed.erase("bytes");
  failed["error"] = {{"message", "no room"}};
  write(one, "m~a", result_of("a", 10));
  write(one, "m~b", failed);
  write(two, "m~b", result_of("b", 20));
  write(two, "other", {{"no", "result"}});
  const Results results = read_results({one.path(), two.path()});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_FALSE(is_failure(results.at("m~b")));
  EXPECT_TRUE(is_failure(read_results({one.path()}).at("m~b")));
  EXPECT_EQ(number_at(first_text(results.at("m~a")), "/kl_mean"), 0.5);
  EXPECT_TRUE(std::isnan(number_at(results.at("m~a"), "/speed/decode")));
  const std::string table = result_table(results).str();
  EXPECT_NE(table.find("0.500000"), std::string::npos) << table;
}

TEST(Results, RefuseWhatWasNotMadeAlike) {
  const auto refuse = [](const Json& other, std::initializer_list<std::string> parts) {
    const TemporaryDirectory one, two;
    write(one, "m~a", result_of("a", 10));
    write(two, "m~b", other);
    expect_error([&] { read_results({one.path(), two.path()}); }, ErrorCode::bad_data, parts);
  };
  refuse(result_of("b", 1, 128), {"m~a.json", "m~b.json", "settings", "/text/0/seq_len"});
  Json model = result_of("b", 1);
  model["spec"]["model_sha256"] = "sha256:2";
  refuse(model, {"not made alike", "model m"});
  Json recipe = result_of("a", 1);
  recipe["spec"]["recipe"]["steps"] = Json::array();
  refuse(recipe, {"recipe a", "/steps"});
  const TemporaryDirectory empty;
  expect_error([&] { read_results({empty.path()}); }, ErrorCode::not_found, {"no results"});
  expect_error([&] { read_results({empty / "missing"}); }, ErrorCode::not_found, {"missing"});
}

TEST(Results, AreWrittenWhereNothingElseLies) {
  const TemporaryDirectory directory;
  const Results results = {{"m~a", result_of("a", 10)}, {"m~b", result_of("b", 20)}};
  write_results(results, directory / "all");
  EXPECT_EQ(read_results({directory / "all"}), results);
  write_results(results, directory / "all");  // and again
  write_file_atomic(directory / "all/m~b.json", "{}");
  write_file_atomic(directory / "all/m~a.json", format_json(result_of("a", 11)));
  expect_error([&] { write_results(results, directory / "all"); }, ErrorCode::bad_data,
               {"m~b.json", "no result of krait sweep"});
  EXPECT_EQ(read_file(directory / "all/m~b.json"), "{}");
  EXPECT_EQ(number_at(read_results({directory / "all"}).at("m~a"), "/bytes"), 11);
}

TEST(Report, RowsAreByModelTheLargestFirstAndFailuresLast) {
  Json failed = result_of("c", 0);
  failed.erase("bytes");
  const ReportModels models =
      report_models({{"m~a", result_of("a", 10)}, {"m~b", result_of("b", 20)}, {"m~c", failed}});
  ASSERT_EQ(models.at("m").size(), 3u);
  EXPECT_EQ(models.at("m")[0].recipe, "b");
  EXPECT_EQ(models.at("m")[1].recipe, "a");
  EXPECT_EQ(models.at("m")[2].recipe, "c");
}

TEST(Report, LayersHaveAMedianAndAWorst) {
  const Layers layers = summarize_layers({1, NAN, 5, 3});
  EXPECT_EQ(layers.median, 3);
  EXPECT_EQ(layers.worst, 5);
  EXPECT_EQ(layers.count, 3u);
  EXPECT_TRUE(std::isnan(summarize_layers({NAN}).median));
  const Json result = {{"sites",
                        {{"products",
                          {{{"role", "a"}, {"layer", 0}, {"error", 0.25}},
                           {{"role", "a"}, {"layer", 0}, {"error", 0.5}},
                           {{"role", "a"}, {"layer", 1}, {"error", nullptr}},
                           {{"role", "b"}, {"layer", -1}, {"error", 2}}}}}}};
  const std::vector<RoleValues> roles = role_values(result, "products", "/error");
  ASSERT_EQ(roles.size(), 2u);
  EXPECT_EQ(roles[0].by_layer.at(0), 0.5);  // the worst of the experts
  EXPECT_TRUE(std::isnan(roles[0].by_layer.at(1)));
  EXPECT_EQ(roles[1].by_layer.at(-1), 2);
  EXPECT_TRUE(role_values(result, "sites", "/error").empty());
}

TEST(Report, AccuracyIsTheMeanOfTheHeadlines) {
  const Json result = {{"tasks",
                        {{"x", {{"headline", "acc"}, {"acc", {{"value", 0.25}}}}},
                         {"y", {{"headline", "acc_norm"}, {"acc_norm", {{"value", 0.75}}}}}}}};
  EXPECT_EQ(mean_accuracy(result), 0.5);
  EXPECT_TRUE(std::isnan(mean_accuracy(Json::object())));
}

}  // namespace
}  // namespace krait
