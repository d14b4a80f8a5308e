// Reading lines from a person: editing, history, several lines at once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kinglet {

/// One line that is being edited, in UTF-8; the cursor stands between characters. No terminal in here, so that it can
/// be tested.
class EditedLine {
 public:
  const std::string& text() const { return text_; }
  std::size_t cursor() const { return cursor_; }
  void set(std::string text);
  void insert(std::string_view text);
  void left();
  void right();
  void home() { cursor_ = 0; }
  void end() { cursor_ = text_.size(); }
  void erase_left();
  void erase_right();
  void erase_word();
  void erase_to_end() { text_.resize(cursor_); }
  void erase_to_begin();
  /// What of the line is shown in so many columns, and the cursor's column in it.
  std::pair<std::string, std::size_t> window(std::size_t columns) const;

 private:
  std::size_t before(std::size_t at) const;
  std::size_t after(std::size_t at) const;
  std::string text_;
  std::size_t cursor_ = 0;
};

/// Lines from standard input: with editing and history on a terminal, plainly otherwise.
class LineReader {
 public:
  LineReader();
  enum class Outcome { kLine, kInterrupted, kEnd };
  /// A line without its line feed.
  Outcome read(std::string_view prompt, std::string& line);
  /// A message: a line that ends in \ goes on in the next; """ begins a text that ends at the next """.
  Outcome read_message(std::string_view prompt, std::string& message);
  bool interactive() const { return interactive_; }
  void remember(std::string line);
  void load_history(const std::string& path);
  void save_history(const std::string& path) const;

 private:
  Outcome read_edited(std::string_view prompt, std::string& line);
  Outcome read_plain(std::string& line);
  void browse(EditedLine& line, std::size_t& place, bool back, std::string& draft) const;
  bool interactive_;
  std::string pending_;
  bool at_end_ = false;
  std::vector<std::string> history_;
};

}  // namespace kinglet
