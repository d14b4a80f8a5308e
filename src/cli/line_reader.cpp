#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/text_lines.h"

namespace kinglet {
namespace {

constexpr std::size_t kMostHistory = 1000;
constexpr std::size_t kMostHistoryBytes = 4 << 20;

// The terminal without line editing and signals of its own, while it lives.
class RawTerminal {
 public:
  RawTerminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~static_cast<tcflag_t>(IXON | ICRNL);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  }
  ~RawTerminal() { tcsetattr(STDIN_FILENO, TCSADRAIN, &before_); }

 private:
  termios before_{};
};

bool read_byte(char& byte) {
  while (true) {
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count == 1) return true;
    if (count == 0 || errno != EINTR || interrupt_signal() != 0) return false;
  }
}

bool more_waits() {
  pollfd entry{STDIN_FILENO, POLLIN, 0};
  return poll(&entry, 1, 20) > 0;
}

enum class Key { kText, kLeft, kRight, kHome, kEnd, kUp, kDown, kDelete, kOther };

// What follows an escape byte.
Key read_escape() {
  char byte = 0;
  if (!more_waits() || !read_byte(byte) || (byte != '[' && byte != 'O') || !read_byte(byte)) return Key::kOther;
  std::string number;
  while ((byte >= '0' && byte <= '9') || byte == ';') {
    number += byte;
    if (!read_byte(byte)) return Key::kOther;
  }
  switch (byte) {
    case 'A':
      return Key::kUp;
    case 'B':
      return Key::kDown;
    case 'C':
      return Key::kRight;
    case 'D':
      return Key::kLeft;
    case 'H':
      return Key::kHome;
    case 'F':
      return Key::kEnd;
    case '~':
      return number == "3"                    ? Key::kDelete
             : number == "1" || number == "7" ? Key::kHome
             : number == "4" || number == "8" ? Key::kEnd
                                              : Key::kOther;
    default:
      return Key::kOther;
  }
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

void draw(std::string_view prompt, const EditedLine& line) {
  const auto [shown, column] = line.window(terminal_columns() - prompt.size() - 1);
  std::string out = "\r\033[K" + std::string(prompt) + escape_for_terminal(shown) + "\r";
  if (const std::size_t right = prompt.size() + column; right > 0) out += "\033[" + std::to_string(right) + "C";
  std::fputs(out.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

LineReader::LineReader() : interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {}

LineReader::Outcome LineReader::read(std::string_view prompt, std::string& line) {
  return interactive_ ? read_edited(prompt, line) : read_plain(line);
}

LineReader::Outcome LineReader::read_plain(std::string& line) {
  char buffer[4096];
  while (true) {
    if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return Outcome::kLine;
    }
    if (at_end_) {
      line = std::exchange(pending_, {});
      return line.empty() ? Outcome::kEnd : Outcome::kLine;
    }
    const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (count > 0) {
      pending_.append(buffer, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      at_end_ = true;
    } else if (interrupt_signal() != 0) {
      return Outcome::kInterrupted;
    }
  }
}

void LineReader::browse(EditedLine& line, std::size_t& place, bool back, std::string& draft) const {
  if (back ? place == 0 : place >= history_.size()) return;
  if (place == history_.size()) draft = line.text();
  place += back ? std::size_t(-1) : 1;
  line.set(place == history_.size() ? draft : history_[place]);
}

LineReader::Outcome LineReader::read_edited(std::string_view prompt, std::string& out) {
  const RawTerminal raw;
  EditedLine line;
  std::size_t place = history_.size();
  std::string draft;
  for (char byte = 0;;) {
    draw(prompt, line);
    if (!read_byte(byte)) return interrupt_signal() != 0 ? Outcome::kInterrupted : Outcome::kEnd;
    Key key = Key::kOther;
    switch (byte) {
      case '\r':
      case '\n':
        std::fputs("\r\n", stdout);
        out = line.text();
        return Outcome::kLine;
      case 3:  // Ctrl-C
        std::fputs("^C\r\n", stdout);
        return Outcome::kInterrupted;
      case 4:  // Ctrl-D
        if (line.text().empty()) return std::fputs("\r\n", stdout), Outcome::kEnd;
        line.erase_right();
        continue;
      case 1:
        key = Key::kHome;
        break;
      case 2:
        key = Key::kLeft;
        break;
      case 5:
        key = Key::kEnd;
        break;
      case 6:
        key = Key::kRight;
        break;
      case 8:
      case 127:
        line.erase_left();
        continue;
      case 11:
        line.erase_to_end();
        continue;
      case 12:
        std::fputs("\033[H\033[2J", stdout);
        continue;
      case 14:
        key = Key::kDown;
        break;
      case 16:
        key = Key::kUp;
        break;
      case 21:
        line.erase_to_begin();
        continue;
      case 23:
        line.erase_word();
        continue;
      case 27:
        key = read_escape();
        break;
      default:
        key = static_cast<unsigned char>(byte) >= 32 || byte == '\t' ? Key::kText : Key::kOther;
    }
    if (key == Key::kText) {
      // A character of several bytes is shown when it is whole.
      std::string text(1, byte);
      const auto lead = static_cast<unsigned char>(byte);
      for (int rest = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0; rest > 0 && read_byte(byte); --rest)
        text += byte;
      line.insert(text);
    }
    if (key == Key::kLeft) line.left();
    if (key == Key::kRight) line.right();
    if (key == Key::kHome) line.home();
    if (key == Key::kEnd) line.end();
    if (key == Key::kDelete) line.erase_right();
    if (key == Key::kUp || key == Key::kDown) browse(line, place, key == Key::kUp, draft);
  }
}

LineReader::Outcome LineReader::read_message(std::string_view prompt, std::string& message) {
  message.clear();
  bool block = false;
  for (std::string_view shown = prompt;; shown = "... ") {
    std::string line;
    const Outcome outcome = read(shown, line);
    if (outcome == Outcome::kEnd && shown != prompt) return Outcome::kLine;
    if (outcome != Outcome::kLine) return outcome;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (interactive_) remember(line);
    if (!block && shown == prompt && line.starts_with("\"\"\"")) block = true, line.erase(0, 3);
    if (block) {
      const bool closed = line.size() >= 3 && line.ends_with("\"\"\"");
      if (closed) line.resize(line.size() - 3);
      message += line;
      if (closed) return Outcome::kLine;
      if (!message.empty() || shown != prompt) message += '\n';
      continue;
    }
    if (line.empty() || line.back() != '\\') {
      message += line;
      return Outcome::kLine;
    }
    line.back() = '\n';
    message += line;
  }
}

void LineReader::remember(std::string line) {
  if (line.empty() || (!history_.empty() && history_.back() == line)) return;
  history_.push_back(std::move(line));
  if (history_.size() > kMostHistory) history_.erase(history_.begin());
}

void LineReader::load_history(const std::string& path) {
  const auto text = read_file(path, kMostHistoryBytes);
  if (!text) return;
  for (const std::string_view line : text_lines(*text)) remember(std::string(line));
}

void LineReader::save_history(const std::string& path) const {
  std::string text;
  for (const std::string& line : history_) text += line + "\n";
  if (const std::size_t slash = path.rfind('/'); slash != std::string::npos && !make_folders(path.substr(0, slash)))
    return;
  auto file = AtomicFile::create(path);
  if (file && (*file)->write(std::string_view(text))) (void)(*file)->commit();
}

}  // namespace kinglet
