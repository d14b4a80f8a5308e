#include <string>

#include "cli/parse.h"

namespace kinglet {
namespace {

// Text as roff shows it: nothing in it is taken for a request.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

std::string heading(const std::string& name) {
  std::string upper;
  for (const char c : name) upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return ".TH " + upper + " 1 \"\" \"kinglet " KINGLET_VERSION "\" \"Kinglet\"\n";
}

constexpr std::string_view kExitStatus =
    ".SH EXIT STATUS\n0 done, 1 failed, 2 usage, 3 not found, 4 bad file or checksum, 5 not enough memory or disk,\n"
    "6 a quality gate missed, 130 interrupted (143 on SIGTERM).\n";

std::string program_page() {
  std::string out = heading("kinglet") +
                    ".SH NAME\nkinglet \\- run, compress and measure language models\n"
                    ".SH SYNOPSIS\n.B kinglet\n.I COMMAND\n[arguments] [options]\n.SH COMMANDS\n";
  for (const Command* command : commands())
    out += ".TP\n.BR kinglet\\-" + roff(command->name) + " (1)\n" + roff(command->summary) + "\n";
  return out + std::string(kExitStatus) +
         ".SH ENVIRONMENT\n.TP\n.B KINGLET_HOME\nWhere models are kept, instead of $XDG_DATA_HOME/kinglet.\n"
         ".TP\n.B KINGLET_KERNEL\ndot or lookup: how few rows are multiplied with the types U1 to U4 (without it, as "
         "measured).\n"
         ".TP\n.B KINGLET_ISA\nForces scalar, avx2, avx512 or neon kernels.\n"
         ".TP\n.B NO_COLOR\nNo colour and no progress bars.\n";
}

}  // namespace

std::string man_page(const Command* command) {
  if (command == nullptr) return program_page();
  std::string out = heading("kinglet-" + std::string(command->name));
  out += ".SH NAME\nkinglet\\-" + roff(command->name) + " \\- " + roff(command->summary) + "\n";
  out += ".SH SYNOPSIS\n.B kinglet " + roff(command->name) + "\n" + roff(command->usage) + "\n";
  if (!command->description.empty()) out += ".SH DESCRIPTION\n" + roff(command->description) + "\n";
  out += ".SH OPTIONS\n";
  for (const auto& option : all_options(*command))
    out += ".TP\n.B " + roff(option_heading(option)) + "\n" + roff(option_help(option)) + "\n";
  if (!command->examples.empty()) {
    out += ".SH EXAMPLES\n.nf\n";
    for (const std::string_view example : command->examples) out += roff(example) + "\n";
    out += ".fi\n";
  }
  return out + std::string(kExitStatus) + ".SH SEE ALSO\n.BR kinglet (1)\n";
}

}  // namespace kinglet
