#include <charconv>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/text_lines.h"
#include "kinglet/grammar.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

/// What an instance is checked by besides its tokens.
struct Session {
  SchemaOptions options;
  bool cpu_time = false;
  std::size_t check_every = 0;  ///< of the masks, which one is compared with trying every token; 0: none
  const Tokenizer& tokenizer;
  std::shared_ptr<const GrammarVocabulary> vocabulary;

  double now_ms() const {
    timespec time{};
    clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
  }
};

constexpr OptionSpec kOptions[] = {
    {.name = "cases",
     .kind = OptionKind::kFile,
     .value_name = "C.jsonl",
     .help = "One {\"schema\", \"grammar\" or \"regex\": …, \"tests\": [{\"data\": …, \"valid\": …}]} a line"},
    {.name = "any-order", .kind = OptionKind::kFlag, .help = "Properties in any order"},
    {.name = "compact", .kind = OptionKind::kFlag, .help = "No white space between the tokens of JSON"},
    {.name = "cpu-time", .kind = OptionKind::kFlag, .help = "Times by the thread's own clock, not by the wall's"},
    {.name = "check-every",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "Compares each N-th mask with trying every token of the vocabulary, which takes long",
     .min = 1,
     .max = 1 << 30},
};

/// Masks beside a matcher that never makes one and is asked for every token instead.
class MaskCheck {
 public:
  MaskCheck(const Grammar& grammar, const Session& session) : naive_(grammar, session.vocabulary), session_(session) {}
  void compare(std::span<const TokenId> before, std::span<const std::uint64_t> mask) {
    if (session_.check_every == 0 || ++masks_ % session_.check_every != 0) return;
    naive_.reset();
    for (const TokenId id : before) naive_.accept(id);
    ++checked_;
    for (TokenId id = 0; id < session_.tokenizer.size(); ++id) {
      const bool accepted = naive_.accept(id);
      if (accepted) naive_.rollback(1);
      const auto at = static_cast<std::size_t>(id);
      if (accepted != ((mask[at / 64] >> (at % 64) & 1) != 0)) ++differing_;
    }
  }
  void report(ordered_json& out) const {
    if (session_.check_every == 0) return;
    out["checked_masks"] = checked_;
    out["differing_tokens"] = differing_;
  }

 private:
  GrammarMatcher naive_;
  const Session& session_;
  std::size_t masks_ = 0, checked_ = 0, differing_ = 0;
};

// json.dumps(value, ensure_ascii=False): ", " and ": " between.
void python_json(const ordered_json& value, std::string& out) {
  if (value.is_object() || value.is_array()) {
    const bool object = value.is_object();
    out += object ? '{' : '[';
    bool first = true;
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (!first) out += ", ";
      first = false;
      if (object) out += dump_json(ordered_json(it.key())) + ": ";
      python_json(*it, out);
    }
    out += object ? '}' : ']';
  } else if (value.is_number_float()) {
    // The shortest digits, as Python has them too; it writes exponents from 1e16 on and below 1e-4.
    const double number = value.get<double>(), size = number < 0 ? -number : number;
    const bool exponent = size >= 1e16 || (size != 0 && size < 1e-4);
    char buffer[400];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, number,
                                   exponent ? std::chars_format::scientific : std::chars_format::fixed);
    const std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
    out += text;
    if (!exponent && text.find('.') == std::string_view::npos) out += ".0";
  } else {
    out += dump_json(value);
  }
}

Result<Grammar> compile(const ordered_json& one, const SchemaOptions& options) {
  if (one.contains("schema")) return Grammar::from_schema(dump_json(one["schema"]), options);
  if (one.contains("tags")) return Grammar::from_tags(dump_json(one["tags"]), options);
  for (const char* kind : {"grammar", "regex"}) {
    if (!one.contains(kind)) continue;
    if (!one[kind].is_string()) break;
    const std::string text = one[kind].get<std::string>();
    return kind[0] == 'g' ? Grammar::from_gbnf(text) : Grammar::from_regex(text);
  }
  return fail(ErrorCode::kInvalidArgument, "a case has \"schema\", \"grammar\", \"regex\" or \"tags\"");
}

ordered_json run_test(GrammarMatcher& matcher, MaskCheck& check, const Session& session, const std::string& text,
                      ordered_json& mask_us) {
  matcher.reset();
  const auto tokens = session.tokenizer.encode(text);
  std::size_t fed = 0;
  const auto mask = [&] {
    const double start = session.now_ms();
    const auto bits = matcher.mask();
    mask_us.push_back(1000 * (session.now_ms() - start));
    check.compare(std::span(tokens).first(fed), bits);
    return bits;
  };
  bool accepted = true;
  for (const TokenId id : tokens) {
    const auto bits = mask();
    const auto at = static_cast<std::size_t>(id);
    accepted = id >= 0 && at / 64 < bits.size() && (bits[at / 64] >> (at % 64) & 1) != 0 && matcher.accept(id);
    if (!accepted) break;
    ++fed;
  }
  if (accepted) {
    mask();
    accepted = matcher.is_complete();
  }
  ordered_json out = {{"accepted", accepted}, {"tokens", fed}};
  if (const auto error = matcher.failure()) out["error"] = error->message;
  return out;
}

/// Marks refused instances that only break the order of properties.
void find_out_of_order(const ordered_json& one, const Session& session, const std::vector<std::string>& texts,
                       ordered_json& tests) {
  SchemaOptions options = session.options;
  options.any_order = true;
  std::optional<GrammarMatcher> free;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (tests[i]["accepted"].get<bool>()) continue;
    if (!free) {
      auto grammar = compile(one, options);
      if (!grammar) return;
      free.emplace(std::move(*grammar), session.vocabulary);
    }
    if (free->matches(texts[i])) tests[i]["out_of_order"] = true;
  }
}

ordered_json run_case(const ordered_json& one, const Session& session, std::size_t index) {
  ordered_json out = {{"index", index}, {"error", nullptr}, {"compile_ms", 0.0}, {"first_mask_ms", 0.0}};
  out["tests"] = ordered_json::array();
  out["mask_us"] = ordered_json::array();
  const double start = session.now_ms();
  auto grammar = compile(one, session.options);
  out["compile_ms"] = session.now_ms() - start;
  if (!grammar) {
    out["error"] = grammar.error().message;
    return out;
  }
  GrammarMatcher matcher(*grammar, session.vocabulary);
  matcher.mask();
  out["first_mask_ms"] = session.now_ms() - start;
  if (const auto error = matcher.failure()) {
    out["error"] = error->message;
    return out;
  }
  if (!one.contains("tests") || !one["tests"].is_array()) return out;
  MaskCheck check(*grammar, session);
  std::vector<std::string> texts;
  for (const auto& test : one["tests"]) {
    if (!test.is_object() || !test.contains("data")) continue;
    std::string& text = texts.emplace_back();
    if (one.contains("schema") || !test["data"].is_string())
      python_json(test["data"], text);
    else
      text = test["data"].get<std::string>();
    out["tests"].push_back(run_test(matcher, check, session, text, out["mask_us"]));
  }
  check.report(out);
  if (one.contains("schema") && !session.options.any_order) find_out_of_order(one, session, texts, out["tests"]);
  return out;
}

Result<void> run(const Arguments& arguments) {
  if (arguments.positional()[0] != "test")
    return fail(ErrorCode::kInvalidArgument, "expected 'test', found '" + arguments.positional()[0] + "'");
  if (!arguments.given("cases")) return fail(ErrorCode::kInvalidArgument, "--cases is missing");
  KINGLET_TRY(const auto checkpoint, open_model(arguments.positional()[1]));
  KINGLET_TRY(const auto tokenizer, load_tokenizer(checkpoint->metadata()));
  KINGLET_TRY(const std::string cases, read_file(arguments.text("cases"), std::uint64_t{1} << 30));
  const Session session{
      .options = {.any_order = arguments.flag("any-order"), .compact = arguments.flag("compact")},
      .cpu_time = arguments.flag("cpu-time"),
      .check_every = static_cast<std::size_t>(arguments.given("check-every") ? arguments.integer("check-every") : 0),
      .tokenizer = *tokenizer,
      .vocabulary = std::make_shared<const GrammarVocabulary>(*tokenizer),
  };
  std::size_t index = 0;
  for (const std::string_view line : text_lines(cases)) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    KINGLET_TRY(const ordered_json one, parse_json(line, arguments.text("cases")));
    const ordered_json result = run_case(one, session, index++);
    std::fputs((dump_json(result) + "\n").c_str(), stdout);
  }
  return {};
}

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet grammar test smollm2-135m-instruct --cases cases.jsonl --json  # verdicts and times of masks"};

}  // namespace

extern const Command command_grammar;
const Command command_grammar = {
    .name = "grammar",
    .group = CommandGroup::kMeasure,
    .summary = "Check texts against schemas, grammars and expressions",
    .usage = "test MODEL --cases C.jsonl [options]",
    .description =
        "Feeds each text's tokens to the automaton of its schema, grammar or regular expression, with a mask "
        "before each. A text is accepted if every token was allowed and the text may end after the last. A refused "
        "instance of a schema has \"out_of_order\": true where only the order of its properties is against it; a text "
        "has an \"error\" where the grammar is too ambiguous to go on.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 2,
    .max_positional = 2,
    .run = run,
};

}  // namespace kinglet
