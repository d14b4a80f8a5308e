// What the user's environment says. Read when asked, never kept, so that tests may change it between calls.
#pragma once

#include <string>
#include <string_view>

namespace kinglet {

/// The variable's value, "" where it is unset.
std::string environment(std::string_view name);
/// The user's home folder: $HOME, or what the password file says, or "/" (never empty).
std::string home_folder();
/// $XDG_DATA_HOME or ~/.local/share. XDG values that are not absolute are ignored, as the specification asks.
std::string data_folder();
/// $XDG_CACHE_HOME or ~/.cache.
std::string cache_folder();
/// $XDG_CONFIG_HOME or ~/.config.
std::string config_folder();
/// "~" and "~/x" are below the home folder; everything else stays as it is.
std::string expand_home(std::string_view path);

}  // namespace kinglet
