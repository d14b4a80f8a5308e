// Grammars that were written to hurt: compiled within 64 MiB or refused with the reason, and masks too.
#include "decode/counted_memory.h"
#if KINGLET_TEST_COUNTS_ALLOCATIONS
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "decode/piece_tokenizer.h"
#include "kinglet/grammar.h"

namespace kinglet {
namespace {

constexpr long kMostBytes = 64l << 20;

std::string repeated(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

/// `piece` with $ for each number below `count`, with commas between.
std::string numbered(std::string_view piece, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    for (const char c : piece) c == '$' ? out += std::to_string(i) : out += c;
  }
  return out;
}

struct Hostile {
  std::string what, text;
  enum class Kind { kSchema, kGrammar, kRegex } kind = Kind::kSchema;
};

std::vector<Hostile> hostile_grammars() {
  using Kind = Hostile::Kind;
  const std::string either =
      R"({"anyOf":[{"required":["a$"],"properties":{"a$":{"type":"string"}}},{"properties":{"b$":{"minimum":$}}}]})";
  return {
      {"nested repetition", "(a+)+b", Kind::kRegex},
      {"deep repetition", repeated("(", 100) + "a" + repeated("+)", 100) + "+b", Kind::kRegex},
      {"exponential automaton", "(a|b)*a(a|b){30}", Kind::kRegex},
      {"automaton of the largest size", "(a|b)*a(a|b){13}", Kind::kRegex},
      {"repetition of repetitions", "((a|b){1,1000}){1,1000}", Kind::kRegex},
      {"long repetition of wide classes", R"(([\w-]{1,300}\.){1,60}\p{L}{2,300})", Kind::kRegex},
      {"many alternatives of classes", "(" + repeated("[^\\d\\s]\\w*x|", 400) + "y){1,40}", Kind::kRegex},
      {"a long expression", std::string(1 << 20, 'a'), Kind::kRegex},
      {"open groups", std::string(100'000, '('), Kind::kRegex},
      {"deep groups", "root ::= " + std::string(100'000, '('), Kind::kGrammar},
      {"left recursion", "root ::= root \"a\" | \"a\"", Kind::kGrammar},
      {"repetition of a recursive rule", "root ::= x{0,60000}\nx ::= [ab] root", Kind::kGrammar},
      {"doubling rules",
       [] {
         std::string text = "root ::= r0\n";
         for (int i = 0; i < 40; ++i)
           text += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " r" + std::to_string(i + 1) + "\n";
         return text + "r40 ::= [a-z]";
       }(),
       Kind::kGrammar},
      {"a large text", "root ::= \"" + std::string(1 << 20, 'a') + "\"", Kind::kGrammar},
      {"reference to itself", R"({"$ref":"#"})"},
      {"circle of references",
       R"({"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"$ref":"#/$defs/a"}}})"},
      {"negation of itself", R"({"$defs":{"a":{"not":{"$ref":"#/$defs/a"}}},"$ref":"#/$defs/a"})"},
      {"deep nesting", repeated(R"({"items":)", 100'000)},
      {"nesting as deep as is read", repeated(R"({"items":)", 100) + "{}" + repeated("}", 100)},
      {"nested negations", repeated(R"({"not":{"properties":{"a":)", 40) + "{}" + repeated("}}}", 40)},
      {"a large enumeration", R"({"enum":[)" + numbered("\"$\"", 100'000) + "]}"},
      {"an enumeration of numbers", R"({"enum":[)" + numbered("$", 100'000) + "]}"},
      {"an enumeration of objects", R"({"enum":[)" + numbered(R"({"a":[$],"b$":"$"})", 4'000) + "]}"},
      {"an enumeration under not", R"({"not":{"enum":[)" + numbered(R"({"a":[$,1],"b":"$"})", 500) + "]}}"},
      {"alternatives that multiply", R"({"allOf":[)" + numbered(either, 24) + "]}"},
      {"overlapping oneOf", R"({"oneOf":[)" + numbered(R"({"properties":{"a$":{"type":"string"}}})", 60) + "]}"},
      {"dependencies that multiply", R"({"dependentRequired":{)" + numbered(R"("a$":["b$"])", 30) + "}}"},
      {"patterns of properties", R"({"patternProperties":{)" + numbered(R"x("a.*$(b|c)":{"minimum":$})x", 20) + "}}"},
      {"many properties",
       R"({"properties":{)" + numbered(R"("property $":{"type":"string","maxLength":$})", 20'000) + "}}"},
      {"patterns that meet", R"({"allOf":[)" + numbered(R"x({"pattern":"(a|b)*a(a|b){$}$"})x", 14) + "]}"},
      {"many required names", R"({"required":[)" + numbered("\"n$\"", 100'000) + "]}"},
      {"many empty texts", R"({"default":[)" + numbered("\"\"", 520'000) + "]}"},
      {"many members", R"({"default":{)" + numbered(R"("$":0)", 140'000) + "}}"},
      {"a schema too large to read", R"({"default":[)" + numbered("0", 4'000'000) + "]}"},
      {"names under many bounds",
       R"({"propertyNames":{"minLength":5000,"pattern":"^(a|bb)*$"},"minProperties":1000000})"},
      {"a large enumeration of long texts", R"({"enum":[)" + numbered("\"value-$-xxxxxxxxxx\"", 50'000) + "]}"},
      {"circle of references through many alternatives",
       R"({"$defs":{"a":{"anyOf":[{"type":"string"},)" +
           numbered(R"({"type":"array","items":{"$ref":"#/$defs/a"},"minItems":$})", 20) +
           R"(]}},"$ref":"#/$defs/a"})"},
      {"many strings at once",
       R"({"anyOf":[)" + numbered(R"({"type":"string","pattern":"[a-c]$","maxLength":4$})", 17) + "]}"},
      {"counted properties of many alternatives",
       R"({"type":"object","properties":{)" + numbered(R"("p$":{"type":"integer"})", 3'900) + R"(},"anyOf":[)" +
           numbered(R"({"required":["p$"]})", 200) + R"(],"maxProperties":50})"},
      {"a long chain of conditions",
       repeated(R"({"if":{"required":["a"]},"then":{"required":["b"]},"else":)", 60) + "{}" + repeated("}", 60)},
      {"patterns that all hold", R"({"allOf":[)" + numbered(R"({"pattern":"$.*x"})", 16) + "]}"},
      {"alternatives that are the same", "(a|a)*b", Kind::kRegex},
      {"a million repetitions", "a{0,1000000}", Kind::kRegex},
      {"texts within texts", "root ::= (a | b | c)*\na ::= [a-z]+ root?\nb ::= [a-m]* \"x\" root?\nc ::= . root?",
       Kind::kGrammar},
      {"optional rules in a row", "root ::= " + repeated("x? ", 600) + "\".\"\nx ::= [a-z] root?", Kind::kGrammar},
      {"thousands of repetitions of itself", "root ::= ([a-z] root?){1,5000}", Kind::kGrammar},
      {"hundreds of rules for one letter",
       [] {
         std::string text = "root ::= (\"x\" (r0", rules;
         for (int i = 0; i < 300; ++i) {
           if (i > 0) text += " | r" + std::to_string(i);
           rules += "r" + std::to_string(i) + " ::= [a-z]{1," + std::to_string(i + 1) + "} root?\n";
         }
         return text + "))*\n" + rules;
       }(),
       Kind::kGrammar},
      {"large bounds", R"({"minLength":999999999,"maxLength":1000000000,"minItems":1e9,"pattern":"^(ab?)*$"})"},
      {"a large schema", R"({"$defs":{)" +
                             numbered(R"("d$":{"type":"object","properties":{"a":{"$ref":"#/$defs/d0"}}})", 20'000) +
                             R"(},"$ref":"#/$defs/d9"})"},
  };
}

/// A text drawn at random, 20 tokens at most: a mask names tokens, or says why not.
void expect_masks(const Grammar& grammar, const std::string& what) {
  GrammarMatcher matcher(grammar, test::piece_vocabulary());
  std::mt19937 random(1);
  for (int step = 0; step < 20 && !matcher.ended(); ++step) {
    const auto allowed = matcher.allowed();
    if (const auto error = matcher.failure()) {
      EXPECT_EQ(error->code, ErrorCode::kExhausted) << what;
      EXPECT_TRUE(allowed.empty()) << what;
      return;
    }
    if (step > 0) ASSERT_FALSE(allowed.empty()) << what;
    if (allowed.empty()) return;  // no text belongs to it
    ASSERT_TRUE(matcher.accept(allowed[random() % allowed.size()])) << what;
  }
}

TEST(HostileGrammarTest, CompilesWithin64MiBOrIsRefusedWithTheReason) {
  long largest = 0;
  double slowest_ms = 0;
  for (const Hostile& hostile : hostile_grammars()) {
    test::reset_peak();
    const long before = test::held_bytes();
    std::timespec start{}, end{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    const auto made = hostile.kind == Hostile::Kind::kSchema    ? Grammar::from_schema(hostile.text)
                      : hostile.kind == Hostile::Kind::kGrammar ? Grammar::from_gbnf(hostile.text)
                                                                : Grammar::from_regex(hostile.text);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    const long peak = test::peak_bytes() - before;
    EXPECT_LE(peak, kMostBytes) << hostile.what;
    if (!made) {
      EXPECT_FALSE(made.error().message.empty()) << hostile.what;
    }
    if (made) {
      test::reset_peak();
      expect_masks(*made, hostile.what);
      EXPECT_LE(test::peak_bytes() - before, kMostBytes) << hostile.what;
    }
    largest = std::max(largest, peak);
    slowest_ms = std::max(slowest_ms, 1e3 * static_cast<double>(end.tv_sec - start.tv_sec) +
                                          1e-6 * static_cast<double>(end.tv_nsec - start.tv_nsec));
  }
  std::printf("at most %.1f MiB and %.0f ms\n", static_cast<double>(largest) / (1 << 20), slowest_ms);
}

}  // namespace
}  // namespace kinglet
#endif  // KINGLET_TEST_COUNTS_ALLOCATIONS
