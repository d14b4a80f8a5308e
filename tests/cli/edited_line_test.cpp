// Editing a line.
#include <gtest/gtest.h>

#include "cli/line_editor.h"
#include "cli/text_lines.h"

namespace kinglet {
namespace {

TEST(EditedLine, CharactersOfSeveralBytesAreOneStep) {
  EditedLine line;
  line.insert("aß🙂");
  line.left();
  line.insert("x");
  EXPECT_EQ(line.text(), "aßx🙂");
  line.erase_left();
  line.erase_left();
  EXPECT_EQ(line.text(), "a🙂");
  line.erase_right();
  EXPECT_EQ(line.text(), "a");
  line.right();
  line.erase_right();
  line.home();
  line.left();
  line.erase_left();
  EXPECT_EQ(line.text(), "a");
}

TEST(EditedLine, WordsAndSidesAreErased) {
  EditedLine line;
  line.set("one two  three");
  line.erase_word();
  EXPECT_EQ(line.text(), "one two  ");
  line.erase_word();
  EXPECT_EQ(line.text(), "one ");
  line.home();
  line.right();
  line.erase_to_end();
  EXPECT_EQ(line.text(), "o");
  line.erase_to_begin();
  EXPECT_EQ(line.text(), "");
  line.erase_word();
}

TEST(EditedLine, TheWindowFollowsTheCursor) {
  EditedLine line;
  line.set("0123456789");
  EXPECT_EQ(line.window(20), (std::pair<std::string, std::size_t>("0123456789", 10)));
  EXPECT_EQ(line.window(5).first, "6789");
  EXPECT_EQ(line.window(5).second, 4u);
  line.home();
  EXPECT_EQ(line.window(5), (std::pair<std::string, std::size_t>("01234", 0)));
  line.set("東京x");
  EXPECT_EQ(line.window(20).second, 5u);
}

TEST(TextLines, ALastLineFeedBeginsNoLine) {
  using Lines = std::vector<std::string_view>;
  EXPECT_EQ(text_lines(""), Lines{});
  EXPECT_EQ(text_lines("\n"), Lines{""});
  EXPECT_EQ(text_lines("a\n\nb"), (Lines{"a", "", "b"}));
  EXPECT_EQ(text_lines("a\r\n"), Lines{"a\r"});
}

}  // namespace
}  // namespace kinglet
