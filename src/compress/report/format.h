// Numbers and text as the report shows them.
#pragma once

#include <string>
#include <string_view>

namespace kinglet {

/// printf of one number.
std::string number(const char* form, double value);
/// Three significant digits, as people read them: "0.0312", "4.85", "1.2e-05".
std::string short_number(double value);
/// Text as HTML: markup escaped; control characters and ill-formed UTF-8 become U+FFFD.
std::string html(std::string_view text);

}  // namespace kinglet
