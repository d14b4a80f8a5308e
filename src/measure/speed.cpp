#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>

#include "base/try.h"
#include "decode/random.h"
#include "kinglet/generate.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

constexpr int kMostSequences = 256, kMostPositions = 1 << 20;

/// Random tokens that are no control tokens, the same in every run.
std::vector<TokenId> random_prompt(const Engine& engine, int count, std::uint64_t seed) {
  const Tokenizer& tokenizer = engine.model().tokenizer();
  const auto vocabulary = static_cast<std::uint64_t>(engine.model().config().vocabulary);
  Random random(seed);
  std::vector<TokenId> ids;
  for (int tries = 0; static_cast<int>(ids.size()) < count; ++tries) {
    const auto id = static_cast<TokenId>(random.next() % vocabulary);
    if (!tokenizer.is_control(id) || tries > 100 * count) ids.push_back(id);
  }
  if (tokenizer.adds_bos && tokenizer.bos >= 0 && !ids.empty()) ids[0] = tokenizer.bos;
  return ids;
}

}  // namespace

Result<SpeedTest> parse_speed_test(std::string_view name) {
  const std::size_t digits = std::min(name.find_first_of("0123456789"), name.size());
  const std::string_view word = name.substr(0, digits), number = name.substr(digits);
  int size = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), size);
  const bool sized = !number.empty() && error == std::errc() && end == number.data() + number.size() && size > 0;
  SpeedTest test{.size = size, .name = std::string(name)};
  if (word == "decode" && number.empty()) return test;
  if (word == "prefill" && (number.empty() || (sized && size <= kMostPositions))) {
    test.kind = SpeedTest::Kind::kPrefill;
    if (number.empty()) test.size = kBenchPrefillTokens;
    return test;
  }
  if (word == "batch" && sized && size <= kMostSequences) {
    test.kind = SpeedTest::Kind::kBatch;
    return test;
  }
  if (word == "depth" && sized && size <= kMostPositions) {
    test.kind = SpeedTest::Kind::kDepth;
    return test;
  }
  return fail(ErrorCode::kInvalidArgument, "there is no speed test '" + std::string(name) + "'",
              "Tests: decode, prefill, prefillN (tokens), batchN (sequences, to 256), depthN (positions).");
}

Result<double> SpeedMeter::run(const SpeedTest& test) {
  switch (test.kind) {
    case SpeedTest::Kind::kDecode:
      return decode(1, kBenchDecodeTokens, 0);
    case SpeedTest::Kind::kBatch:
      return decode(test.size, kBenchBatchTokens, 0);
    case SpeedTest::Kind::kDepth:
      return decode(1, kBenchDepthTokens, test.size);
    case SpeedTest::Kind::kPrefill:
      break;
  }
  const auto prompt = random_prompt(engine_, test.size, 1);
  std::vector<float> logits(static_cast<std::size_t>(engine_.model().config().vocabulary));
  KINGLET_TRY(auto sequence, engine_.new_sequence());
  const auto start = std::chrono::steady_clock::now();
  KINGLET_CHECK(prefill(engine_, *sequence, prompt, 0, logits.data()));
  return test.size / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<double> SpeedMeter::decode(int sequences, int tokens, int depth) {
  std::vector<GenerateRequest> requests(static_cast<std::size_t>(sequences));
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt = random_prompt(engine_, std::max(depth, kBenchPrompt), i + 1);
    requests[i].options.max_tokens = tokens + 1;
    requests[i].options.ignore_eos = true;
    requests[i].options.drafter = drafter_;
    requests[i].options.draft_model = draft_model_;
    if (prepare) prepare(requests[i]);
  }
  if (depth > 0) {  // the deep prompt is fed once and kept
    auto at = std::find_if(deep_.begin(), deep_.end(), [&](const auto& entry) { return entry.first == depth; });
    if (at == deep_.end()) {
      KINGLET_TRY(auto sequence, engine_.new_sequence());
      deep_.emplace_back(depth, std::move(sequence));
      at = deep_.end() - 1;
    }
    // A sliding window may have forgotten what the prompt's end needs: then it is fed again.
    if (at->second->length() >= depth && !at->second->truncate(depth - 1)) {
      KINGLET_TRY(at->second, engine_.new_sequence());
    }
    requests[0].sequence = at->second.get();
  }
  KINGLET_TRY(const auto results, generate(engine_, std::move(requests), sequences));
  double longest = 0;
  std::int64_t drawn = 0;
  for (const Generation& result : results) {
    if (result.error) return tl::unexpected<Error>(*result.error);
    if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    longest = std::max(longest, result.decode_ms);
    drawn += result.decode_tokens;
  }
  return longest > 0 ? 1000 * static_cast<double>(drawn) / longest : 0;
}

}  // namespace kinglet
