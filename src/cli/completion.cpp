#include <string>

#include "cli/parse.h"

namespace kinglet {
namespace {

bool takes_file(const OptionSpec& option) { return option.kind == OptionKind::kFile; }

// Text for single quotes in a shell.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string command_names() {
  std::string names;
  for (const Command* command : commands()) names += (names.empty() ? "" : " ") + std::string(command->name);
  return names;
}

std::string bash_options(const Command& command) {
  std::string names;
  for (const auto& option : all_options(command)) names += (names.empty() ? "--" : " --") + std::string(option.name);
  return names;
}

std::string bash_script() {
  std::string out =
      "# bash completion of kinglet. Load it with: source <(kinglet completion bash)\n"
      "_kinglet() {\n"
      "  local word=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\" "
      "command=\"${COMP_WORDS[1]}\"\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W '" +
      command_names() +
      " --help --version' -- \"$word\")\n"
      "    return\n"
      "  fi\n"
      "  case \"$command:$previous\" in\n";
  for (const Command* command : commands()) {
    std::string files;
    for (const auto& option : all_options(*command)) {
      const std::string pattern = std::string(command->name) + ":--" + std::string(option.name);
      if (!option.choices.empty()) {
        std::string choices;
        for (const auto choice : option.choices) choices += (choices.empty() ? "" : " ") + std::string(choice);
        out += "    " + pattern + ") mapfile -t COMPREPLY < <(compgen -W '" + choices + "' -- \"$word\"); return ;;\n";
      } else if (takes_file(option)) {
        files += (files.empty() ? "" : "|") + pattern;
      } else if (option.kind != OptionKind::kFlag) {
        out += "    " + pattern + ") return ;;\n";
      }
    }
    if (!files.empty()) out += "    " + files + ") mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n";
  }
  out += "  esac\n  local options=\n  case \"$command\" in\n";
  for (const Command* command : commands())
    out += "    " + std::string(command->name) + ") options='" + bash_options(*command) + "' ;;\n";
  return out +
         "  esac\n"
         "  if [[ \"$word\" == -* ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
         "  else\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$(kinglet completion models 2>/dev/null)\" -- \"$word\"; compgen "
         "-f -- \"$word\")\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _kinglet kinglet\n";
}

std::string zsh_script() {
  std::string out =
      "#compdef kinglet\n# zsh completion of kinglet. Load it with: source <(kinglet completion zsh)\n_kinglet() {\n"
      "  local -a names\n  if (( CURRENT == 2 )); then\n    names=(\n";
  for (const Command* command : commands())
    out += "      " + quoted(std::string(command->name) + ":" + std::string(command->summary)) + "\n";
  out +=
      "    )\n    _describe command names\n    return\n  fi\n"
      "  local -a models\n  models=(${(f)\"$(kinglet completion models 2>/dev/null)\"})\n"
      "  case $words[2] in\n";
  for (const Command* command : commands()) {
    out += "    " + std::string(command->name) + ")\n      _arguments -S";
    for (const auto& option : all_options(*command)) {
      std::string help;
      for (const char c : option.help) help += c == '[' || c == ']' || c == ':' ? ' ' : c;
      std::string spec = std::string(option.repeatable ? "*" : "") + "--" + std::string(option.name) + "[" + help + "]";
      if (!option.choices.empty()) {
        spec += ":value:(";
        for (const auto choice : option.choices) spec += std::string(choice) + " ";
        spec += ")";
      } else if (takes_file(option)) {
        spec += ":file:_files";
      } else if (option.kind != OptionKind::kFlag) {
        spec += ":value: ";
      }
      out += " \\\n        " + quoted(spec);
    }
    out += " \\\n        '*:model or file:{ compadd -a models; _files }' ;;\n";
  }
  return out + "  esac\n}\nif [ \"$funcstack[1]\" = _kinglet ]; then _kinglet; else compdef _kinglet kinglet; fi\n";
}

std::string fish_script() {
  std::string out = "# fish completion of kinglet. Load it with: kinglet completion fish | source\n";
  for (const Command* command : commands()) {
    const std::string name(command->name);
    out += "complete -c kinglet -n __fish_use_subcommand -f -a " + name + " -d " + quoted(command->summary) + "\n";
    const std::string condition = "complete -c kinglet -n '__fish_seen_subcommand_from " + name + "'";
    out += condition + " -a '(kinglet completion models 2>/dev/null)'\n";
    for (const auto& option : all_options(*command)) {
      out += condition + " -l " + std::string(option.name);
      if (option.letter != 0) out += std::string(" -s ") + option.letter;
      if (option.kind != OptionKind::kFlag) out += takes_file(option) ? " -r -F" : " -x";
      if (!option.choices.empty()) {
        std::string choices;
        for (const auto choice : option.choices) choices += (choices.empty() ? "" : " ") + std::string(choice);
        out += " -a " + quoted(choices);
      }
      out += " -d " + quoted(option.help) + "\n";
    }
  }
  return out;
}

}  // namespace

std::string completion_script(std::string_view shell) {
  if (shell == "zsh") return zsh_script();
  if (shell == "fish") return fish_script();
  return bash_script();
}

}  // namespace kinglet
