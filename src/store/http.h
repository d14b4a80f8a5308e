// HTTP as the store needs it, over libcurl: redirects that never carry credentials to another host, bodies that are
// looked at only after their headers were agreed to, and errors with a way out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

struct HttpRequest {
  std::string url;
  bool head = false;             ///< only the headers; a redirect to another host is then answered, not followed
  std::string token;             ///< sent as a bearer token to the URL's own origin and nowhere else
  std::uint64_t range_from = 0;  ///< above 0: only the bytes from here on are asked for
  int connect_seconds = 30;
  int silent_seconds = 30;  ///< without a byte: the connection counts as cut (KINGLET_HTTP_TIMEOUT sets another bound)
};

struct HttpResponse {
  long status = 0;
  std::string url;  ///< after redirects
  /// Lower-case names; of the last response, and x-linked-* and x-repo-commit of those that redirected.
  std::map<std::string, std::string, std::less<>> headers;

  std::string header(std::string_view name) const;
  /// Content-Length, or nothing that is a number: 0 with `known` false.
  struct Length {
    bool known = false;
    std::uint64_t bytes = 0;
  };
  Length length(std::string_view name = "content-length") const;
};

/// `accept` sees the headers of a 2xx response before its body; an error of it or of `sink` ends the transfer and is
/// returned. Other statuses are a response, not an error; their bodies are dropped. Errors: kIo, kCancelled.
struct HttpHandlers {
  std::function<Result<void>(const HttpResponse&)> accept = {};
  std::function<Result<void>(std::span<const std::byte>)> sink = {};
};
Result<HttpResponse> http_send(const HttpRequest& request, const HttpHandlers& handlers = {});

/// A whole small body of a 2xx response; kExhausted above `max_bytes`, otherwise the error of http_status_error().
struct HttpText {
  HttpResponse response;
  std::string body;
};
Result<HttpText> http_get(const HttpRequest& request, std::uint64_t max_bytes);

/// The error that a status means: 404 and 410 kNotFound, everything else kIo; 401 and 403 say how to give a token.
tl::unexpected<Error> http_status_error(const HttpResponse& response);

/// True for 408, 425, 429 and 5xx: trying again may help.
bool http_may_try_again(long status);

/// The URL without user, password and query: for messages.
std::string public_url(std::string_view url);
/// "scheme://host:port", lower case, with the default port left out; "" where it is no http(s) URL.
std::string url_origin(std::string_view url);
/// Bytes other than letters, digits and -._~/ as %XX.
std::string url_path_escape(std::string_view path);

/// Seconds of silence after which a connection counts as cut: KINGLET_HTTP_TIMEOUT, or `usual` where it is unset or no
/// number from 1 to 86399.
int http_silence(int usual);

}  // namespace kinglet
