#include "decode/text_stream.h"

#include <gtest/gtest.h>

namespace kinglet {
namespace {

TEST(TextStream, HoldsAnUnfinishedCharacter) {
  TextStream stream;
  EXPECT_EQ(stream.append("a\xF0"), "a");
  EXPECT_EQ(stream.append("\x9F\x98"), "");
  EXPECT_EQ(stream.append("\x80"
                          "b"),
            "\xF0\x9F\x98\x80"
            "b");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.text(),
            "a\xF0\x9F\x98\x80"
            "b");
}

TEST(TextStream, IllFormedBytesBecomeReplacementCharacters) {
  struct Case {
    const char* bytes;
    const char* text;
  };
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"\x80", r},
      {"\xC0\xAF", r + r},
      {"\xE0\x80\x80", r + r + r},
      {"\xED\xA0\x80", r + r + r},
      {"\xF4\x90\x80\x80", r + r + r + r},
      {"\xE2\x82"
       "x",
       r + "x"},
      {"\xF0\x9F\x98", r},
      {"\xFF"
       "a",
       r + "a"},
      {"\xE2\x82\xE2\x82\xAC", r + "\xE2\x82\xAC"},
  };
  for (const auto& [bytes, text] : cases) {
    TextStream whole, split;
    whole.append(bytes);
    whole.finish();
    EXPECT_EQ(whole.text(), text);
    for (char byte : bytes) split.append(std::string(1, byte));
    split.finish();
    EXPECT_EQ(split.text(), text);
  }
}

TEST(TextStream, HoldsBackWhatMayBecomeAStopString) {
  TextStream stream({"</s>", "User:"});
  EXPECT_EQ(stream.append("hi <"), "hi ");
  EXPECT_EQ(stream.append("/"), "");
  EXPECT_EQ(stream.append("b>"), "</b>");
  EXPECT_EQ(stream.append("Us"), "");
  EXPECT_EQ(stream.append("er: x"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.append("more"), "");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.text(), "hi </b>");
}

TEST(TextStream, TheFirstStopStringInTheTextCounts) {
  TextStream stream({"cd", "b"});
  stream.append("abcd");
  EXPECT_EQ(stream.text(), "a");
}

TEST(TextStream, HeldBackTextIsTextAtTheEnd) {
  TextStream stream({"stop"});
  EXPECT_EQ(stream.append("no st"), "no ");
  EXPECT_EQ(stream.finish(), "st");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, OverlappingBeginningsAreNotMissed) {
  for (const std::string text : {"aaab", "aabaab", "xaaaab"}) {
    TextStream stream({"aab"});
    for (char c : text) stream.append(std::string(1, c));
    EXPECT_EQ(stream.text(), text.substr(0, text.find("aab")));
  }
}

TEST(TextStream, StopStringsAcrossCharactersOfSeveralBytes) {
  TextStream stream({"\xC3\xA9\xC3\xA9", "\xA9"});  // the second starts inside a character and never matches
  EXPECT_EQ(stream.append("caf\xC3"), "caf");
  EXPECT_EQ(stream.append("\xA9"), "");
  EXPECT_EQ(stream.append("\xC3\xA8"), "\xC3\xA9\xC3\xA8");
  EXPECT_EQ(stream.append("\xC3\xA9\xC3\xA9"), "");
  EXPECT_TRUE(stream.stopped());
}

}  // namespace
}  // namespace kinglet
