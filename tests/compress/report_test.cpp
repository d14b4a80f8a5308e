#include "kinglet/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kinglet {
namespace {

ModelFigures figures(const std::string& label, std::uint64_t bytes, double kl) {
  ModelFigures model;
  model.label = label;
  model.path = "/m/" + label;
  model.bytes = bytes;
  model.quality.emplace();
  model.quality->perplexity = 12.5;
  model.quality->divergence = Divergence{.mean = kl, .p99 = 3 * kl, .top1_agreement = 0.9, .worst = {}};
  if (kl > 0) {
    Disagreement place;
    place.kl = 2;
    place.before = "a <b>";
    place.model_best = "\xB4\x01";
    place.token = "\n";
    model.quality->divergence->worst.push_back(place);
  }
  model.decode.runs = {90, 110, 100};
  model.prefill.runs = {900};
  model.types = {{"Q4_0", 2, bytes, bytes * 2}};
  if (kl > 0) model.layers = {{0.01, 0.001}, {0.1, 0.002}};
  return model;
}

Report sample() {
  Report report;
  report.title = "a & b";
  report.models = {figures("source", 100'000'000, 0), figures("<script>x", 50'000'000, 0.04)};
  report.answers = {{"prompt?", {"one two three", "one two four"}, {0, 0.5}}};
  report.candidates = {{"tried", 60'000'000, 0.02}};
  return report;
}

TEST(Report, JsonHasTheContractsKeys) {
  const auto value = nlohmann::json::parse(report_json(sample()));
  ASSERT_EQ(value["models"].size(), 2u);
  for (const char* key : {"path", "bytes", "bits_per_weight", "perplexity", "kl_mean", "kl_p99", "top1_agreement",
                          "decode_tokens_per_second", "prefill_tokens_per_second", "peak_bytes"})
    EXPECT_TRUE(value["models"][1].contains(key)) << key;
  EXPECT_EQ(value["models"][1]["kl_mean"], 0.04);
  EXPECT_EQ(value["models"][0]["kl_mean"], 0.0);
  EXPECT_EQ(value["models"][1]["decode_tokens_per_second"], 100.0);
  EXPECT_EQ(value["models"][1]["decode"]["low"], 90.0);
}

TEST(Report, PageIsOneFileAndEscapesWhatItShows) {
  const std::string page = report_html(sample());
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;x"), std::string::npos);
  EXPECT_NE(page.find("<title>a &amp; b</title>"), std::string::npos);
  EXPECT_NE(page.find("a &lt;b&gt;"), std::string::npos);
  EXPECT_EQ(page.find('\xB4'), std::string::npos);
  EXPECT_EQ(page.find('\x01'), std::string::npos);
  for (const char* outside : {"http://", "https://", " src=", "@import", "url("})
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
  // The answer is marked from the word on where it parts.
  EXPECT_NE(page.find("one two <mark>four</mark>"), std::string::npos);
}

TEST(Report, ChartsHaveAPointForEachModelAndCandidate) {
  const std::string page = report_html(sample());
  const auto count = [&](std::string_view what) {
    int n = 0;
    for (std::size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("class=\"point\""), 1);
  EXPECT_EQ(count("class=\"candidate\""), 1);
  EXPECT_EQ(count("class=\"hidden\""), 2);
  EXPECT_EQ(count("class=\"weights\""), 2);
}

TEST(Report, TableHasARowForEachModel) {
  const std::string table = report_table(sample());
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3);
  EXPECT_NE(table.find("90.0 %"), std::string::npos);
}

TEST(Report, TheTextThatSufferedMostIsMarked) {
  Report report = sample();
  report.models[1].texts = {{.name = "prose", .tokens = 100, .perplexity = 10, .kl = 0.1, .retention = 0.95},
                            {.name = "<code>", .tokens = 100, .perplexity = 5, .kl = 0.05, .retention = 0.8},
                            {.name = "chat", .tokens = 100, .perplexity = 7, .kl = 0, .retention = 1}};
  EXPECT_EQ(worst_text(report.models[1]), 1);
  const auto texts = nlohmann::json::parse(report_json(report))["models"][1]["texts"];
  EXPECT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[1]["worst"], true);
  EXPECT_EQ(texts[0]["worst"], false);
  EXPECT_EQ(texts[1]["retention"], 0.8);
  const std::string table = report_table(report), page = report_html(report);
  EXPECT_NE(table.find("0.0 %  worst\n"), std::string::npos) << table;
  EXPECT_NE(page.find("80.0 % (worst)"), std::string::npos);
  EXPECT_NE(page.find("&lt;code&gt;"), std::string::npos);
  for (TextFigures& text : report.models[1].texts) text.retention = 1;
  EXPECT_EQ(worst_text(report.models[1]), -1);
}

TEST(Report, OneModelAloneHasAPage) {
  Report report = sample();
  report.models.resize(1);
  report.answers.clear();
  EXPECT_NE(report_html(report).find("</html>"), std::string::npos);
  report.models.clear();
  EXPECT_NE(report_html(report).find("</html>"), std::string::npos);
}

}  // namespace
}  // namespace kinglet
