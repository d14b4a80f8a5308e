#include "base/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace kinglet {

namespace {

std::string xdg(std::string_view variable, std::string_view below_home) {
  std::string value = environment(variable);
  if (value.starts_with('/')) return value;
  const std::string home = home_folder();
  return (home == "/" ? "" : home) + std::string(below_home);
}

}  // namespace

std::string environment(std::string_view name) {
  const char* const value = std::getenv(std::string(name).c_str());
  return value ? value : "";
}

std::string home_folder() {
  std::string home = environment("HOME");
  if (home.starts_with('/')) return home;
  char buffer[4096];
  passwd entry = {};
  passwd* found = nullptr;
  if (getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found) == 0 && found && found->pw_dir[0] == '/') {
    return found->pw_dir;
  }
  return "/";
}

std::string data_folder() { return xdg("XDG_DATA_HOME", "/.local/share"); }
std::string cache_folder() { return xdg("XDG_CACHE_HOME", "/.cache"); }
std::string config_folder() { return xdg("XDG_CONFIG_HOME", "/.config"); }

std::string expand_home(std::string_view path) {
  if (path == "~") return home_folder();
  if (path.starts_with("~/")) return home_folder() + std::string(path.substr(1));
  return std::string(path);
}

}  // namespace kinglet
