#include "kinglet/grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "decode/piece_tokenizer.h"
#include "decode/sampler_chain.h"

namespace kinglet {
namespace {

using test::PieceTokenizer;

std::shared_ptr<const GrammarVocabulary> vocabulary() { return test::piece_vocabulary(); }

bool matches(const Grammar& grammar, std::string_view text) {
  return GrammarMatcher(grammar, vocabulary()).matches(text);
}

Grammar schema(std::string_view text, SchemaOptions options = {}) {
  auto made = Grammar::from_schema(text, options);
  EXPECT_TRUE(made) << made.error().text();
  return *made;
}

std::vector<Grammar> samples() {
  std::vector<Grammar> out;
  for (
      const char* text :
      {"{}",
       R"({"type":"object","properties":{"name":{"type":"string","maxLength":4},"age":{"type":"integer","minimum":0}},"required":["name"]})",
       R"({"type":"array","items":{"type":"number","maximum":12.5},"minItems":1})",
       R"({"enum":["ab","a\"b",1,null,[1]]})", R"({"type":"string","pattern":"^a+b?$"})",
       R"({"anyOf":[{"type":"string","maxLength":2},{"type":"string","pattern":"a$"}]})",
       R"({"anyOf":[{"type":"string","maxLength":90},{"type":"string","pattern":"b"},{"enum":["aba","ab1"]},{"type":"integer"}]})",
       R"({"type":"string","pattern":"^[ab]+$","minLength":60,"maxLength":120})",
       R"({"type":"array","items":{"type":"string","pattern":"^(ab?)*$","maxLength":45}})",
       R"({"type":"string","format":"uri"})",
       R"({"properties":{"a":{"type":"string"},"ab":{"type":"string"},"aba":{"type":"string","minLength":50}},"patternProperties":{"^b":true}})",
       R"({"$ref":"#/$defs/t","$defs":{"t":{"type":"object","properties":{"a":{"$ref":"#/$defs/t"}},"additionalProperties":false}}})"})
    out.push_back(schema(text));
  for (const char* text :
       {"root ::= \"[\" root \"]\" | [ab]+", "root ::= item (\",\" item)*\nitem ::= [0-9]{1,3} | \"(\" root \")\""})
    out.push_back(*Grammar::from_gbnf(text));
  std::string many =
      R"({"type":"array","items":{"anyOf":[{"type":"null"})";  // more patterns at once than are walked together
  for (int i = 1; i <= 20; ++i)
    many += R"(,{"type":"string","pattern":"^[^)" + std::string(1, static_cast<char>('a' + i % 5)) + R"(]*[0-9a]{)" +
            std::to_string(i) + R"(}"})";
  out.push_back(schema(many + R"(]},"minItems":1})"));
  for (const char* text : {"(a|b)*ab|[^\"]{2,5}", "(.|\n)*", "[^\n]{0,20}", "([ab]|日本|\\\\n){1,30}|12"})
    out.push_back(*Grammar::from_regex(text));
  out.push_back(
      *Grammar::from_tags(R"({"triggers":["ab","\""],"tags":[{"begin":"aba","schema":{"type":"integer"},"end":", "},
      {"begin":"\"","schema":true,"end":"é"}]})"));
  return out;
}

/// The tokens that the matcher takes one by one, which its mask has to name.
std::vector<TokenId> expect_exact_mask(GrammarMatcher& matcher) {
  const std::vector<std::uint64_t> mask(matcher.mask().begin(), matcher.mask().end());
  std::vector<TokenId> naive;
  for (TokenId id = 0; id < PieceTokenizer::instance().size(); ++id) {
    const bool accepted = matcher.accept(id);
    if (accepted) naive.push_back(id), matcher.rollback(1);
    EXPECT_EQ(accepted, (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) << id;
  }
  const auto allowed = matcher.allowed();
  EXPECT_EQ(naive, std::vector<TokenId>(allowed.begin(), allowed.end()));
  return naive;
}

TEST(GrammarTest, MasksEqualTryingEveryToken) {
  std::mt19937 random(1);
  for (const Grammar& grammar : samples())
    for (int round = 0; round < 30; ++round) {
      GrammarMatcher matcher(grammar, vocabulary());
      for (int step = 0; step < 12; ++step) {
        const std::vector<TokenId> naive = expect_exact_mask(matcher);
        ASSERT_FALSE(naive.empty()) << "a text that cannot be completed";
        const TokenId next = naive[random() % naive.size()];
        ASSERT_TRUE(matcher.accept(next));
        if (matcher.ended()) break;
      }
    }
}

// Strings that allow every plain character and differ in the escapes that they allow.
TEST(GrammarTest, StringsDoNotShareTheirEscapes) {
  const Grammar grammar = schema(
      R"({"prefixItems":[{"type":"string"},{"type":"string","pattern":"^[^\\n]*$"},{"type":"string","pattern":"^[^\\\\]*$"},{"type":"string"}],"items":false,"type":"array"})");
  GrammarMatcher matcher(grammar, vocabulary());
  const auto feed = [&](std::string_view text) {
    for (const char c : text) ASSERT_TRUE(matcher.accept(static_cast<std::uint8_t>(c)));
  };
  feed("[\"a");
  for (int string = 0; string < 4; ++string) {
    expect_exact_mask(matcher);
    if (string < 3) feed("\",\"a");
  }
}

TEST(GrammarTest, SmallCachesChangeNothing) {
  std::mt19937 random(2);
  for (const Grammar& grammar : samples()) {
    GrammarMatcher large(grammar, vocabulary()), small(grammar, vocabulary(), 1);
    for (int step = 0; step < 20 && !large.ended(); ++step) {
      const auto a = large.allowed();
      const auto b = small.allowed();
      ASSERT_EQ(std::vector<TokenId>(a.begin(), a.end()), std::vector<TokenId>(b.begin(), b.end()));
      const TokenId next = a[random() % a.size()];
      ASSERT_TRUE(large.accept(next) && small.accept(next));
    }
  }
}

TEST(GrammarTest, RollbackReachesBehindWhatACacheForgot) {
  const Grammar grammar = *Grammar::from_regex("(ab|aba|12|[0-9]+x)*");
  GrammarMatcher large(grammar, vocabulary()), small(grammar, vocabulary(), 1);
  std::mt19937 random(3);
  const auto advance = [&](int steps) {
    for (int step = 0; step < steps; ++step) {
      const auto a = large.allowed();
      const std::vector<TokenId> ids(a.begin(), a.end());
      const auto b = small.allowed();
      ASSERT_EQ(ids, std::vector<TokenId>(b.begin(), b.end()));
      TokenId next = ids[random() % ids.size()];
      if (next == PieceTokenizer::instance().eos) next = ids[0];
      ASSERT_TRUE(large.accept(next) && small.accept(next));
    }
  };
  advance(100);
  for (const std::size_t back : {1u, 30u, 69u}) {
    large.rollback(back), small.rollback(back);
    advance(static_cast<int>(back));
  }
}

TEST(GrammarTest, PropertiesOfSeveralSchemasMayMix) {
  const Grammar grammar = schema(
      R"({"properties":{"a":{},"b":{}},"allOf":[{"properties":{"c":{"type":"string"},"b":{"type":"string"}}}]})");
  for (const char* text :
       {R"({"a":1,"b":"x","c":"y"})", R"({"c":"y","a":1,"b":"x"})", R"({"a":1,"c":"y","b":"x","d":2})"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {R"({"b":"x","a":1})", R"({"b":1})", R"({"d":1,"c":"y"})", R"({"c":"y","c":"y"})"})
    EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(GrammarTest, ConditionsOnPresenceHoldForEverySetOfProperties) {
  constexpr std::string_view text = R"({"properties":{"a":{},"b":{},"c":{}},"maxProperties":4,
      "dependentRequired":{"a":["b"],"b":["x"],"c":["a"]},
      "anyOf":[{"required":["a"]},{"required":["c"]},{"required":["y"]}],"not":{"required":["c","y"]}})";
  const Grammar ordered = schema(text), free = schema(text, {.any_order = true});
  for (unsigned set = 0; set < 32; ++set) {
    const auto has = [&](char name) { return (set >> std::string_view("abcxy").find(name) & 1) != 0; };
    const bool valid = set != 31 && (!has('a') || has('b')) && (!has('b') || has('x')) && (!has('c') || has('a')) &&
                       (has('a') || has('c') || has('y')) && !(has('c') && has('y'));
    std::string forwards, backwards;
    for (const char name : std::string("abcxy"))
      if (has(name)) {
        const std::string one = std::string("\"") + name + "\":1";
        forwards += (forwards.empty() ? "" : ",") + one;
        backwards = one + (backwards.empty() ? "" : ",") + backwards;
      }
    EXPECT_EQ(matches(ordered, "{" + forwards + "}"), valid) << forwards;
    EXPECT_EQ(matches(free, "{" + forwards + "}"), valid) << forwards;
    EXPECT_EQ(matches(free, "{" + backwards + "}"), valid) << backwards;
  }
}

TEST(GrammarTest, ManyConditionsOnPresenceDoNotMultiplyWithDepth) {
  std::string text = R"({"properties":{"in":{"type":"array","items":{"$ref":"#"}}},"dependentRequired":{)";
  for (int i = 0; i < 7; ++i)
    text += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + "\":[\"q" + std::to_string(i) + "\"]";
  for (const bool any_order : {false, true}) {
    const Grammar grammar = schema(text + "}}", {.any_order = any_order});
    std::string good = R"({"p3":1,"q3":2})", bad = R"({"p3":1,"q4":2})";
    for (int depth = 0; depth < 6; ++depth)
      for (std::string* inner : {&good, &bad}) *inner = R"({"in":[)" + *inner + R"(],"q5":1,"p5":2})";
    EXPECT_TRUE(matches(grammar, good));
    EXPECT_FALSE(matches(grammar, bad));
  }
}

TEST(GrammarTest, ManyPropertiesMayComeInAnyOrder) {
  std::string text = R"({"properties":{)";
  for (int i = 0; i < 90; ++i) text += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + "\":{\"type\":\"integer\"}";
  const Grammar grammar = schema(text + R"(},"required":["p70","p3"]})", {.any_order = true});
  EXPECT_TRUE(matches(grammar, R"({"p70":1,"p89":2,"p3":3,"p0":4,"other":"x"})"));
  EXPECT_FALSE(matches(grammar, R"({"p70":1,"p89":2,"p89":3,"p3":3})"));
  EXPECT_FALSE(matches(grammar, R"({"p70":1,"p89":2})"));
}

TEST(GrammarTest, EarlierDraftsAreReadAsTheyWere) {
  const auto draft = [](const char* number, const char* rest) {
    return schema(std::string(R"({"$schema":"http://json-schema.org/draft-0)") + number + R"(/schema#",)" + rest + "}");
  };
  EXPECT_FALSE(matches(draft("4", R"("type":"integer")"), "1.0"));
  EXPECT_TRUE(matches(draft("6", R"("type":"integer")"), "1.0"));
  EXPECT_TRUE(matches(draft("4", R"("const":1)"), "2"));
  EXPECT_FALSE(matches(draft("6", R"("const":1)"), "2"));
  EXPECT_TRUE(matches(
      draft("7",
            R"("definitions":{"n":{"type":"null"}},"properties":{"a":{"$ref":"#/definitions/n","type":"string"}})"),
      R"({"a":null})"));
  EXPECT_TRUE(matches(draft("4", R"("if":{"type":"object"},"then":{"required":["a"]})"), "{}"));
}

TEST(GrammarTest, PropertiesComeInTheSchemasOrderUnlessLifted) {
  constexpr std::string_view text = R"({"properties":{"a":{},"b":{}},"required":["b"]})";
  EXPECT_TRUE(matches(schema(text), R"({"a": 1, "b": 2, "c": 3})"));
  EXPECT_FALSE(matches(schema(text), R"({"b": 2, "a": 1})"));
  EXPECT_TRUE(matches(schema(text, {.any_order = true}), R"({"c": 3, "b": 2, "a": 1})"));
  EXPECT_FALSE(matches(schema(text, {.any_order = true}), R"({"a": 1})"));
}

TEST(GrammarTest, CompactForbidsWhiteSpace) {
  EXPECT_TRUE(matches(schema("{}", {.compact = true}), R"({"a":[1,2]})"));
  EXPECT_FALSE(matches(schema("{}", {.compact = true}), R"({"a": 1})"));
  EXPECT_TRUE(matches(schema("{}"), "{\n \"a\" : [ 1 ,\t2 ]\r\n}"));
}

TEST(GrammarTest, NumbersAreExact) {
  const Grammar grammar = schema(R"({"type":"number","minimum":0.1,"exclusiveMaximum":20,"multipleOf":0.1})");
  for (const char* text : {"0.1", "0.30", "19.9", "7", "7.0"}) EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"0", "0.05", "20", "0.11", "-1", "07", "1."}) EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(GrammarTest, UnsupportedKeywordsAreNamed) {
  const auto made = Grammar::from_schema(R"({"properties":{"a":{"uniqueItems":true}}})");
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("uniqueItems"), std::string::npos);
}

TEST(GrammarTest, ForcedTextEndsWhereThereIsAChoice) {
  const Grammar grammar = schema(
      R"({"type":"object","properties":{"name":{"enum":["ab","ac"]}},"required":["name"],"additionalProperties":false})",
      {.compact = true});
  GrammarMatcher matcher(grammar, vocabulary());
  EXPECT_EQ(matcher.forced_text(), R"({"name":"a)");
}

constexpr std::string_view kTags = R"({"triggers":["<ab"],"tags":[
    {"begin":"<aba>","schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},"end":"</aba>"},
    {"begin":"<ab0>","schema":{"type":"string","maxLength":3},"end":"!"}]})";

Grammar tags(std::string text) {
  auto made = Grammar::from_tags(text);
  EXPECT_TRUE(made) << made.error().text();
  return *made;
}

TEST(GrammarTest, TagsHoldToSchemasInFreeText) {
  const Grammar grammar = tags(std::string(kTags));
  for (const char* text :
       {"", "Any text, <a or < abc> \n日本", "<aba>{\"a\": 1}</aba>", "x<aba>{\"a\":1}</aba> y <ab0>\"abc\"! z",
        "<<ab0>\"\"!", "<aba>{\"a\":1}</aba><ab0>\"b\"!<"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text :
       {"<ab", "<abc>", "x<aba>{}</aba>", "<aba>{\"a\":1}", "<ab0>\"abcd\"!", "<aba>{\"a\":\"x\"}</aba>"})
    EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(GrammarTest, TagsAreCounted) {
  std::string text(kTags);
  text.insert(1, R"("at_least":1,"at_most":2,)");
  const Grammar grammar = tags(text);
  const std::string one = "<ab0>\"a\"!";
  EXPECT_FALSE(matches(grammar, "nothing"));
  EXPECT_TRUE(matches(grammar, "so " + one + " it is"));
  EXPECT_TRUE(matches(grammar, one + one));
  EXPECT_FALSE(matches(grammar, one + one + one));
}

TEST(GrammarTest, MalformedTagsAreRefused) {
  for (const char* text :
       {"[]", "{}", R"({"triggers":[],"tags":[]})",
        R"({"triggers":["a"],"tags":[{"begin":"b","schema":{},"end":"c"}]})",
        R"({"triggers":["a","ab"],"tags":[{"begin":"ab","schema":{},"end":"c"}]})",
        R"({"triggers":["a"],"tags":[{"begin":"a","schema":{"uniqueItems":true},"end":"c"}]})",
        R"({"triggers":["a"],"tags":[{"begin":"a","schema":{},"end":""}]})",
        R"({"triggers":["a"],"tags":[{"begin":"a","schema":{},"end":"b"}],"at_most":1,"at_least":2})"})
    EXPECT_FALSE(Grammar::from_tags(text)) << text;
}

TEST(GrammarTest, RepetitionsOfRepetitionsTakeTheSameTexts) {
  const auto taken = [](std::string_view rule) {
    const auto grammar = Grammar::from_gbnf("root ::= \"b\" x " + std::string(rule) + "\nx ::= \"c\"\n");
    std::string lengths;
    for (int n = 0; n < 6 && grammar; ++n)
      lengths += matches(*grammar, "bc" + std::string(std::size_t(n), 'a')) ? '1' : '0';
    return lengths;
  };
  for (const char* rule : {"\"a\"**", "\"a\"+*", "\"a\"*+", "\"a\"?*", "\"a\"*?", "\"a\"?+", "\"a\"+?", "\"a\"*{3}"})
    EXPECT_EQ(taken(rule), "111111") << rule;
  EXPECT_EQ(taken("\"a\"++"), "011111");
  EXPECT_EQ(taken("\"a\"??"), "110000");
  EXPECT_EQ(taken("\"a\"+{2}"), "001111");
  EXPECT_EQ(taken("\"a\"+{2,3}"), "001111");
  EXPECT_EQ(taken("\"a\"{2}{2}"), "000010");
  EXPECT_EQ(taken("\"a\"{2}*"), "101010");
  EXPECT_EQ(taken("\"a\"?{2}"), "111000");
  EXPECT_EQ(taken("\"a\"{2,}*"), "101111");
  EXPECT_EQ(taken("\"a\"*{0}"), "100000");
}

// Ways to read a text that multiply with each byte: any mask costs bounded work, and one that would cost more is an
// error and no verdict.
TEST(GrammarTest, TooManyWaysToReadATextAreAnError) {
  for (const char* text :
       {"root ::= . root? . root? .", "root ::= . .* . root? .* . .? (root . | \"a\")",
        "root ::= \"a\" root? root? root?", "root ::= (x x? x? | y)*\nx ::= [a-z] root? y?\ny ::= [a-z ] x? root?"}) {
    const auto grammar = Grammar::from_gbnf(text);
    ASSERT_TRUE(grammar) << grammar.error().text();
    GrammarMatcher matcher(*grammar, vocabulary());
    std::vector<std::uint64_t> before;
    std::size_t taken = 0;
    for (; taken < 100 && !matcher.failure(); ++taken) {
      if (const auto mask = matcher.mask(); !matcher.failure()) before.assign(mask.begin(), mask.end());
      if (!matcher.failure() && matcher.accept('a')) continue;
      break;
    }
    ASSERT_TRUE(matcher.failure()) << text;
    EXPECT_EQ(matcher.failure()->code, ErrorCode::kExhausted);
    EXPECT_EQ(matcher.allowed_count(), 0u) << text;
    if (taken == 0) continue;
    matcher.rollback(1);
    const auto again = matcher.mask();
    EXPECT_FALSE(matcher.failure()) << text;
    EXPECT_TRUE(std::equal(again.begin(), again.end(), before.begin(), before.end())) << text;
  }
}

TEST(GrammarTest, AnExhaustedGrammarEndsAnAnswerWithItsReason) {
  const Grammar grammar = *Grammar::from_gbnf("root ::= \"a\" root? root? root?");
  auto chain = SamplerChain::make({}, 0, {make_grammar_processor(grammar, vocabulary())});
  ASSERT_TRUE(chain);
  Candidates candidates;
  std::vector<float> row(static_cast<std::size_t>(PieceTokenizer::instance().size()), 0);
  Result<TokenId> drawn = 0;
  for (int i = 0; i < 500 && drawn; ++i) {
    std::fill(row.begin(), row.end(), 0.0f);
    row['a'] = 1;
    candidates.reset(row);
    drawn = chain->pick(candidates);
    if (drawn) {
      EXPECT_EQ(*drawn, 'a');
      chain->accept(*drawn);
    }
  }
  ASSERT_FALSE(drawn);
  EXPECT_EQ(drawn.error().code, ErrorCode::kExhausted);
  EXPECT_NE(drawn.error().message.find("ambiguous"), std::string::npos) << drawn.error().message;
}

// An alternative that needs its own rule again and again leads to no text, and a mask never leads into it.
TEST(GrammarTest, AlternativesThatNeverEndAreNotAllowed) {
  const Grammar grammar =
      *Grammar::from_gbnf("root ::= \"a\" (\"b\" | \"c\" x)* | x\nx ::= \"c\" y | \"d\" x\ny ::= \"b\" x");
  GrammarMatcher matcher(grammar, vocabulary());
  EXPECT_EQ(matcher.forced_text(), "a");
  ASSERT_TRUE(matcher.accept('a'));
  EXPECT_FALSE(matcher.accept('c'));
  EXPECT_TRUE(matches(grammar, "abb"));
  for (const char* text : {"root ::= \"a\" root", "root ::= x | y\nx ::= \"a\" y\ny ::= \"b\" x \"c\""})
    EXPECT_FALSE(Grammar::from_gbnf(text)) << text;
}

TEST(GrammarTest, BoundedRepetitionsOfRulesMayEndAnywhere) {
  const Grammar grammar =
      *Grammar::from_gbnf("root ::= x{2,5} \"-\" (x | \"c\"?){0,3}\nx ::= \"a\" | \"(\" root \")\"");
  for (const char* text : {"aa-", "aaaaa-", "aaa-a", "aa-aaa", "aa-aca", "aa-ccc", "(aa-)a-c", "a(aaa-c)(aa-)-(aa-)"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"a-", "aaaaaa-", "aa-aaaa", "aa-cccc", "aa", "(aa)a-"})
    EXPECT_FALSE(matches(grammar, text)) << text;
  EXPECT_TRUE(Grammar::from_gbnf("root ::= x{0,60000}\nx ::= [ab] root"));
  EXPECT_FALSE(Grammar::from_gbnf("root ::= (x? y?){0,3000}\nx ::= [ab] root\ny ::= [a-z] x"));
}

TEST(GrammarTest, HostileInputIsCompiledOrRefused) {
  EXPECT_TRUE(Grammar::from_regex("(a+)+b"));
  EXPECT_FALSE(Grammar::from_regex("((a|b){1,1000}){1,1000}"));
  EXPECT_FALSE(Grammar::from_regex("(a|b)*a(a|b){30}"));
  EXPECT_FALSE(Grammar::from_regex(std::string(100'000, '(')));
  EXPECT_FALSE(Grammar::from_gbnf("root ::= " + std::string(100'000, '(')));
  EXPECT_FALSE(Grammar::from_gbnf("root ::= root \"a\" | \"a\""));
  // Every repetition of the one rule may end within every repetition of the other: given up after bounded work.
  const auto nested = Grammar::from_gbnf("root ::= x{0,660}\nx ::= [ab] root");
  if (nested) EXPECT_FALSE(matches(*nested, "c"));
  EXPECT_FALSE(Grammar::from_schema(R"({"$ref":"#"})"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += R"({"items":)";
  EXPECT_FALSE(Grammar::from_schema(deep));
  std::string many = R"({"enum":[)";
  for (int i = 0; i < 100'000; ++i) many += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\"";
  const auto made = Grammar::from_schema(many + "]}");
  if (made) {
    EXPECT_TRUE(matches(*made, "\"99999\""));
  }
}

}  // namespace
}  // namespace kinglet
