// The formats of JSON Schema as regular expressions.
#include <cstdio>

#include "base/try.h"
#include "decode/grammar/compile.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

const std::string kDate =
    "(\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
    "|(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)";
const std::string kOffset = "([zZ]|[+-]([01]\\d|2[0-3]):[0-5]\\d)";

// Leap seconds end a day in UTC. Offsets of whole and half hours are known.
std::string leap_seconds() {
  std::string out;
  for (int half = -47; half <= 47; ++half) {
    const int minutes = ((23 * 60 + 59 + half * 30) % 1440 + 1440) % 1440;
    const int size = half < 0 ? -half * 30 : half * 30;
    char text[64];
    std::snprintf(text, sizeof text, "|%02d:%02d:60(\\.\\d+)?%s%02d:%02d", minutes / 60, minutes % 60,
                  half < 0 ? "-" : "\\+", size / 60, size % 60);
    out += text;
  }
  return out + "|23:59:60(\\.\\d+)?([zZ]|-00:00)";
}

std::string time_pattern() { return "(([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d+)?" + kOffset + leap_seconds() + ")"; }

const std::string kLabel = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const std::string kHost = kLabel + "(\\." + kLabel + ")*";
const std::string kByte = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const std::string kIpv4 = kByte + "(\\." + kByte + "){3}";

std::string ipv6_pattern() {
  const std::string h = "[0-9A-Fa-f]{1,4}", tail = "(" + h + ":" + h + "|" + kIpv4 + ")";
  const auto times = [](int n) { return "{" + std::to_string(n) + "}"; };
  std::string out = "((" + h + ":){6}" + tail + "|::(" + h + ":){5}" + tail;
  for (int after = 4; after >= 0; --after)
    out += "|((" + h + ":){0," + std::to_string(4 - after) + "}" + h + ")?::(" + h + ":)" + times(after) + tail;
  out += "|((" + h + ":){0,5}" + h + ")?::" + h + "|((" + h + ":){0,6}" + h + ")?::)";
  return out;
}

std::string uri_pattern(bool reference) {
  const std::string hex = "%[0-9A-Fa-f]{2}", chars = "([A-Za-z0-9._~!$&'()*+,;=:@-]|" + hex + ")";
  const std::string no_colon = "([A-Za-z0-9._~!$&'()*+,;=@-]|" + hex + ")";
  const std::string authority = "(([A-Za-z0-9._~!$&'()*+,;=:-]|" + hex + ")*@)?(\\[(" + ipv6_pattern() +
                                "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|([A-Za-z0-9._~!$&'()*+,;=-]|" +
                                hex + ")*)(:\\d*)?";
  const std::string rest = "(\\?(" + chars + "|[/?])*)?(#(" + chars + "|[/?])*)?";
  const std::string absolute = "/(" + chars + "+(/" + chars + "*)*)?";
  std::string uri = "[A-Za-z][A-Za-z0-9+.-]*:(//" + authority + "(/" + chars + "*)*|" + absolute + "|" + chars + "+(/" +
                    chars + "*)*)?" + rest;
  if (!reference) return uri;
  return "(" + uri + "|(//" + authority + "(/" + chars + "*)*|" + absolute + "|" + no_colon + "+(/" + chars + "*)*)?" +
         rest + ")";
}

std::string duration_pattern() {
  const std::string time = "T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S)";
  return "P((\\d+Y(\\d+M(\\d+D)?)?|\\d+M(\\d+D)?|\\d+D)(" + time + ")?|" + time + "|\\d+W)";
}

std::string email_pattern() {
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  return "(" + atom + "(\\." + atom + ")*|\"([ !#-\\[\\]-~]|\\\\[ -~])*\")@(" + kHost + "|\\[(" + kIpv4 +
         "|IPv6:" + ipv6_pattern() + ")\\])";
}

}  // namespace

Result<AstPtr> format_pattern(std::string_view format, Budget& budget) {
  std::string pattern;
  if (format == "date")
    pattern = kDate;
  else if (format == "time")
    pattern = time_pattern();
  else if (format == "date-time")
    pattern = kDate + "[tT]" + time_pattern();
  else if (format == "duration")
    pattern = duration_pattern();
  else if (format == "email")
    pattern = email_pattern();
  else if (format == "hostname")
    pattern = kHost;
  else if (format == "ipv4")
    pattern = kIpv4;
  else if (format == "ipv6")
    pattern = ipv6_pattern();
  else if (format == "uri")
    pattern = uri_pattern(false);
  else if (format == "uri-reference")
    pattern = uri_pattern(true);
  else if (format == "uuid")
    pattern = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";
  else if (format == "json-pointer")
    pattern = "(/([^/~]|~[01])*)*";
  else if (format == "relative-json-pointer")
    pattern = "(0|[1-9][0-9]*)(#|(/([^/~]|~[01])*)*)";
  else if (format == "idn-email" || format == "idn-hostname" || format == "iri" || format == "iri-reference" ||
           format == "uri-template" || format == "regex")
    return unsupported("the format \"" + std::string(format) + "\"");
  else
    return AstPtr();
  return parse_regex(pattern, budget);
}

}  // namespace kinglet::grammar
