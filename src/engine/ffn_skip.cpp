#include "kinglet/ffn_skip.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/try.h"
#include "kinglet/checkpoint.h"

namespace kinglet {
namespace {

constexpr std::string_view kType = "ffn-skip";
constexpr std::int64_t kMostLayers = 4096;

Result<std::vector<std::uint8_t>> flags(const Metadata& metadata, std::string_view key) {
  KINGLET_TRY(const auto* values, metadata.integers(key));
  std::vector<std::uint8_t> result;
  if (values == nullptr) return result;
  for (const std::int64_t value : *values) result.push_back(value != 0 ? 1 : 0);
  return result;
}

Result<std::vector<double>> numbers(const Metadata& metadata, std::string_view key) {
  KINGLET_TRY(const auto* values, metadata.numbers(key));
  if (values == nullptr) return std::vector<double>();
  for (const double value : *values)
    if (!std::isfinite(value)) return fail(ErrorCode::kCorrupt, std::string(key) + " has a value that is no number");
  return *values;
}

std::vector<std::int64_t> as_integers(const std::vector<std::uint8_t>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

FeedForwardSkip::FeedForwardSkip(const FeedForwardSkip& other)
    : rule(other.rule),
      threshold(other.threshold),
      chance(other.chance),
      probe(other.probe),
      warm_up(other.warm_up),
      cold(other.cold),
      off(other.off),
      similarity(other.similarity),
      curve(other.curve),
      model(other.model) {}

std::string_view skip_rule_name(SkipRule rule) {
  constexpr std::string_view kNames[] = {"adaptive", "static", "random", "layers"};
  return kNames[static_cast<int>(rule)];
}

Result<SkipRule> parse_skip_rule(std::string_view name) {
  for (const SkipRule rule : {SkipRule::kAdaptive, SkipRule::kStatic, SkipRule::kRandom, SkipRule::kLayers})
    if (skip_rule_name(rule) == name) return rule;
  return fail(ErrorCode::kInvalidArgument, "'" + std::string(name) + "' is no rule for skipping feed-forwards",
              "Known: adaptive, static, random, layers.");
}

Result<void> FeedForwardSkip::check(std::int64_t layers) const {
  const auto fits = [&](std::size_t size) { return static_cast<std::int64_t>(size) == layers; };
  if (!fits(cold.size()) || !fits(off.size()))
    return fail(ErrorCode::kInvalidArgument,
                "the skip file is for a model of " + std::to_string(cold.size()) + " layers, this one has " +
                    std::to_string(layers),
                "Calibrate this model: kinglet calibrate ffn-skip MODEL --text F -o OUT");
  return {};
}

Result<void> FeedForwardSkip::save(const std::string& path) const {
  Metadata metadata;
  metadata.set_string("general.type", kType);
  metadata.set_string("general.name", "feed-forward skipping");
  metadata.set_string("kinglet.model_sha256", model);
  metadata.set_string("ffn_skip.rule", skip_rule_name(rule));
  metadata.set_number("ffn_skip.threshold", threshold, MetadataType::kFloat64);
  metadata.set_number("ffn_skip.chance", chance, MetadataType::kFloat64);
  metadata.set_integer("ffn_skip.probe", probe);
  metadata.set_integer("ffn_skip.warm_up", warm_up);
  metadata.set_integers("ffn_skip.cold", as_integers(cold));
  metadata.set_integers("ffn_skip.off", as_integers(off));
  metadata.set_numbers("ffn_skip.similarity", similarity);
  std::vector<double> thresholds, shares, nlls;
  for (const SkipPoint& point : curve)
    thresholds.push_back(point.threshold), shares.push_back(point.share), nlls.push_back(point.nll);
  metadata.set_numbers("ffn_skip.curve.threshold", thresholds);
  metadata.set_numbers("ffn_skip.curve.share", shares);
  metadata.set_numbers("ffn_skip.curve.nll", nlls);
  KINGLET_TRY(auto writer, GgufWriter::create(path, metadata, {}));
  return writer->finish();
}

Result<std::unique_ptr<FeedForwardSkip>> FeedForwardSkip::load(const std::string& path) {
  KINGLET_TRY(const auto file, open_checkpoint(path));
  const Metadata& metadata = file->metadata();
  KINGLET_TRY(const std::string type, metadata.string_or("general.type", ""));
  if (type != kType)
    return fail(ErrorCode::kUnsupported, "the file is no calibration of feed-forward skipping, but '" + type + "'",
                "Make one: kinglet calibrate ffn-skip MODEL --text F -o OUT", path);
  auto skip = std::make_unique<FeedForwardSkip>();
  KINGLET_TRY(const std::string rule, metadata.string("ffn_skip.rule"));
  KINGLET_TRY(skip->rule, parse_skip_rule(rule));
  KINGLET_TRY(skip->model, metadata.string_or("kinglet.model_sha256", ""));
  KINGLET_TRY(skip->threshold, metadata.number("ffn_skip.threshold", -1e9, 1e9));
  KINGLET_TRY(skip->chance, metadata.number("ffn_skip.chance", 0, 1));
  KINGLET_TRY(const std::int64_t probe, metadata.integer("ffn_skip.probe", 0, kMostLayers));
  KINGLET_TRY(const std::int64_t warm_up, metadata.integer("ffn_skip.warm_up", 0, 1 << 30));
  skip->probe = static_cast<int>(probe);
  skip->warm_up = static_cast<int>(warm_up);
  KINGLET_TRY(skip->cold, flags(metadata, "ffn_skip.cold"));
  KINGLET_TRY(skip->off, flags(metadata, "ffn_skip.off"));
  KINGLET_TRY(skip->similarity, numbers(metadata, "ffn_skip.similarity"));
  KINGLET_TRY(const auto thresholds, numbers(metadata, "ffn_skip.curve.threshold"));
  KINGLET_TRY(const auto shares, numbers(metadata, "ffn_skip.curve.share"));
  KINGLET_TRY(const auto nlls, numbers(metadata, "ffn_skip.curve.nll"));
  for (std::size_t i = 0; i < std::min({thresholds.size(), shares.size(), nlls.size()}); ++i)
    skip->curve.push_back({thresholds[i], shares[i], nlls[i]});
  return skip;
}

}  // namespace kinglet
