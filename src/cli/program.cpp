#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>

#include "base/cpu.h"
#include "base/interrupt.h"
#include "cli/output.h"
#include "cli/parse.h"

namespace kinglet {
namespace {

// A closed standard stream would lend its number to the next file that is opened, and output would land in there.
void reserve_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream)
    if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) (void)!open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY);
}

int report(std::string_view command, const Error& error) {
  if (error.code == ErrorCode::kCancelled && error.message.empty() && interrupt_signal() == 0) return 0;
  if (const int signal = interrupt_signal(); signal != 0) {
    std::fputs("\nkinglet: interrupted\n", stderr);
    return 128 + signal;
  }
  std::string text = "kinglet";
  if (!command.empty()) text += " " + std::string(command);
  text += ": error: ";
  if (!error.place.empty()) text += escape_for_terminal(error.place) + ": ";
  text += escape_for_terminal(error.message, true) + "\n";
  if (!error.hint.empty()) text += "hint: " + escape_for_terminal(error.hint, true) + "\n";
  std::fflush(stdout);
  std::fputs(text.c_str(), stderr);
  return exit_code(error.code);
}

Result<void> guarded_run(const Command& command, const Arguments& arguments) {
  try {
    return command.run(arguments);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kExhausted, "not enough memory",
                "Close other programs, choose a smaller model, or lower --context.");
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, std::string("internal error: ") + error.what(), "Please report this.");
  } catch (...) {
    return fail(ErrorCode::kInternal, "internal error of an unknown kind", "Please report this.");
  }
}

int finish(std::string_view command, const Result<void>& result) {
  if (!result) return report(command, result.error());
  if (auto flushed = print_now(""); !flushed) return report(command, flushed.error());
  if (const int signal = interrupt_signal(); signal != 0) return 128 + signal;
  return 0;
}

int unknown_command(std::string_view word) {
  std::vector<std::string_view> names;
  for (const Command* command : commands()) names.push_back(command->name);
  const std::string near = nearest(word, names);
  const std::string what = word.starts_with("-") ? "there is no option " : "there is no command ";
  return report("", Error{ErrorCode::kInvalidArgument, what + std::string(word), "",
                          (near.empty() ? "" : "Did you mean kinglet " + near + "? ") + "See: kinglet --help"});
}

int run_command(const Command& command, std::span<const std::string_view> words) {
  auto arguments = parse_arguments(command, words);
  if (!arguments) return report(command.name, arguments.error());
  if (arguments->flag("help")) return finish(command.name, print(command_help(command)));
  if (const auto& isa = requested_isa(); !isa) return report(command.name, isa.error());
  set_quiet(arguments->flag("quiet"));
  return finish(command.name, guarded_run(command, *arguments));
}

int dispatch(std::span<const std::string_view> words) {
  if (words.empty()) {
    std::fputs(program_help().c_str(), stderr);
    return 2;
  }
  std::string_view name = words.front();
  if (name == "--version" || name == "-V") name = "version";
  if (name == "--help" || name == "-h" || (name == "help" && words.size() == 1))
    return finish("", print(program_help()));
  if (name == "help") {
    const Command* command = find_command(words[1]);
    return command == nullptr ? unknown_command(words[1]) : finish("", print(command_help(*command)));
  }
  const Command* command = find_command(name);
  return command == nullptr ? unknown_command(name) : run_command(*command, words.subspan(1));
}

}  // namespace

int run_program(int argc, char** argv) {
  reserve_standard_streams();
  install_signal_handlers();
  try {
    const std::vector<std::string_view> words(argv + std::min(argc, 1), argv + argc);
    return dispatch(words);
  } catch (const std::bad_alloc&) {
    std::fputs("kinglet: error: not enough memory\n", stderr);
    return 5;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kinglet: error: internal error: %s\n", error.what());
    return 1;
  }
}

}  // namespace kinglet
