// The interpreter of chat templates. What templates give is compared with jinja2's results, which
// tools/reference/compare_templates.py --write has put into data/vectors.json.
#include "kinglet/chat.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace kinglet {
namespace {

nlohmann::ordered_json read_json(const std::string& name) {
  std::ifstream file(std::string(KINGLET_TEST_DATA) + "/model/chat/" + name);
  return nlohmann::ordered_json::parse(file);
}

Result<std::string> render(std::string_view source,
                           const nlohmann::ordered_json& variables = nlohmann::ordered_json::object()) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed) return tl::unexpected<Error>(parsed.error());
  return parsed->render(variables);
}

TEST(ChatTemplate, SmallTemplatesGiveWhatJinja2Gives) {
  const auto vectors = read_json("data/vectors.json");
  ASSERT_GT(vectors["cases"].size(), 500u);
  for (const auto& entry : vectors["cases"]) {
    const auto source = entry["template"].get<std::string>();
    const auto found = render(source, vectors["variables"]);
    EXPECT_EQ(found.has_value(), entry["text"].is_string()) << source << "\n"
                                                            << (found ? *found : found.error().text());
    if (found && entry["text"].is_string()) EXPECT_EQ(*found, entry["text"].get<std::string>()) << source;
  }
}

TEST(ChatTemplate, SyntaxErrorsNameLineAndColumn) {
  const auto found = ChatTemplate::parse("line one\n{% if x %}\n  {{ a b }}\n{% endif %}");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(found.error().place, "chat template, line 3:8");
  EXPECT_EQ(found.error().message, "expected '}}', found 'b'");
}

TEST(ChatTemplate, RunningErrorsNameLineAndColumn) {
  const auto found = render("x\n{{ a.b.c }}", {{"a", {{"q", 1}}}});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(found.error().message, "'dict object' has no attribute 'b'");
  EXPECT_EQ(found.error().place, "chat template, line 2:7");
}

TEST(ChatTemplate, RaiseExceptionIsTheCallersMistake) {
  const auto found = render("{{ raise_exception('roles must alternate') }}");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(found.error().message.find("roles must alternate"), std::string::npos);
}

TEST(ChatTemplate, AbsentToolsAreNoneAsCallersAlwaysPassThem) {
  EXPECT_EQ(*render("{{ tools is none }}{{ tools is defined }}{{ documents }}"), "TrueTrueNone");
  EXPECT_EQ(*render("{{ tools|length }}", {{"tools", {1, 2}}}), "2");
}

TEST(ChatTemplate, ListsAndDictsCannotBeChangedInPlace) {
  for (const auto* source :
       {"{{ [1].append(2) }}", "{{ {}.update({}) }}", "{{ {'a':1}.pop('a') }}", "{{ [2,1].sort() }}"}) {
    const auto found = render(source);
    ASSERT_FALSE(found) << source;
    EXPECT_NE(found.error().message.find("in place"), std::string::npos);
  }
}

TEST(ChatTemplate, NothingOfTheProgramIsReachable) {
  for (const auto* source : {"{{ ''.__class__ }}", "{{ range.__globals__ }}", "{{ namespace.__init__ }}", "{{ self }}"})
    EXPECT_EQ(render(source).value_or("refused"), "") << source;
  EXPECT_FALSE(render("{% include '/etc/passwd' %}"));
  EXPECT_FALSE(render("{% import 'os' as os %}"));
}

void expect_exhausted(std::string_view source) {
  const auto found = render(source, {{"l", {1, 2, 3}}, {"s", std::string(1000, 'x')}});
  ASSERT_FALSE(found) << source;
  EXPECT_EQ(found.error().code, ErrorCode::kExhausted) << source << "\n" << found.error().text();
}

TEST(ChatTemplate, EndlessWorkRunsOutOfSteps) {
  expect_exhausted("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}");
  expect_exhausted("{% for a in range(100000) %}{% set x = range(100000)|list %}{% endfor %}");
  expect_exhausted("{% for a in range(100000) %}{% set x = ('a' * 100000)|upper %}{% endfor %}");
  expect_exhausted("{% for a in range(100000) %}{% set x = s.replace('x', s) %}{% endfor %}");
}

TEST(ChatTemplate, LargeRangesAreRefused) {
  expect_exhausted("{{ range(10**9) }}");
  expect_exhausted("{% for i in range(10**9) %}{% endfor %}");
  expect_exhausted("{{ range(-(2**62), 2**62)|length }}");
}

TEST(ChatTemplate, MemoryAndOutputAreBounded) {
  expect_exhausted("{{ 'x' * 10**12 }}");
  expect_exhausted("{{ [1] * 10**12 }}");
  expect_exhausted("{% set ns = namespace(x=s) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_exhausted("{% set ns = namespace(x=[s]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_exhausted(
      "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = ns.x + [s * 10000] %}{% endfor %}");
  expect_exhausted("{% for i in range(100000) %}{{ s * 1000 }}{% endfor %}");
  expect_exhausted("{{ 2 ** 64 }}");
}

TEST(ChatTemplate, WidthsOfFormatsAreBounded) {
  EXPECT_FALSE(render("{{ '%9999999999d' % 1 }}"));
  EXPECT_FALSE(render("{{ '{:99999999999}'.format(1) }}"));
  EXPECT_FALSE(render("{{ '{:.99999999999f}'.format(1.5) }}"));
}

TEST(ChatTemplate, NestingIsBounded) {
  expect_exhausted("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}");
  expect_exhausted(
      "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}");
  const auto deep = [](std::string_view open, std::string_view close) {
    std::string source = "{{ ";
    for (int i = 0; i < 100000; ++i) source += open;
    source += "1";
    for (int i = 0; i < 100000; ++i) source += close;
    return source + " }}";
  };
  for (const auto& source : {deep("(", ")"), deep("[", "]"), deep("-", ""), deep("not ", ""), deep("{1:", "}"),
                             deep("1 + ", ""), deep("x.", ""), deep("1|abs + ", ""), deep("1 if 1 else ", "")}) {
    const auto found = ChatTemplate::parse(source);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::kCorrupt);
  }
  std::string blocks;
  for (int i = 0; i < 100000; ++i) blocks += "{% if 1 %}";
  EXPECT_FALSE(ChatTemplate::parse(blocks));
}

TEST(ChatTemplate, CirclesThroughNamespacesAreFreedAndPrinted) {
  EXPECT_EQ(*render("{% set ns = namespace(a=1) %}{% set ns.me = ns %}{{ ns }}"),
            "<Namespace {'a': 1, 'me': <Namespace ...>}>");
  EXPECT_TRUE(
      render("{% set ns = namespace() %}{% for x in [1] %}{% set ns.l = loop %}{{ loop.changed(loop) }}{% endfor %}"));
  EXPECT_TRUE(
      render("{% set ns = namespace() %}{% for x in [1] %}{% macro m() %}{{ x }}{% endmacro %}{% set ns.m = m %}{% "
             "endfor %}{{ ns.m() }}"));
}

TEST(ChatTemplate, AMacroOfAnEndedBlockStillSeesItsVariables) {
  EXPECT_EQ(*render("{% set ns = namespace() %}{% for x in [7] %}{% macro m() %}{{ x }}{% endmacro %}{% set ns.m = m "
                    "%}{% endfor %}"
                    "{{ ns.m() }}"),
            "7");
}

TEST(ChatTemplate, TextThatIsNotUtf8PassesThrough) {
  EXPECT_EQ(*render("{{ x }}", {{"x", "a\xFF\xFE"}}), "a\xFF\xFE");
  EXPECT_EQ(*render("{{ x|length }}{{ x[1] }}{{ x|upper }}", {{"x", "a\xFF"}}),
            "2\xFF"
            "A\xFF");
}

TEST(ChatTemplate, OneTemplateRendersInSeveralThreads) {
  const auto parsed = ChatTemplate::parse("{% for m in messages %}{{ m.content|upper }}{% endfor %}");
  ASSERT_TRUE(parsed);
  std::vector<std::string> found(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < found.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round)
        found[i] = parsed->render({{"messages", {{{"content", "x" + std::to_string(i)}}}}}).value_or("");
    });
  for (auto& thread : threads) thread.join();
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], "X" + std::to_string(i));
}

TEST(ChatTemplate, AModelWithoutATemplateGetsAWayOut) {
  const auto found = load_chat_template(Metadata());
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_NE(found.error().hint.find("--raw"), std::string::npos);
}

}  // namespace
}  // namespace kinglet
