#include "store/http.h"

#include <curl/curl.h>

#include <charconv>
#include <memory>
#include <mutex>
#include <optional>

#include "base/environment.h"
#include "base/try.h"
#include "store/layout.h"

namespace kinglet {

namespace {

constexpr int kMaxRedirects = 10;
constexpr std::size_t kMaxHeaderBytes = 256 << 10;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
    text.remove_suffix(1);
  return text;
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// What libcurl's callbacks see of one hop.
struct Hop {
  CURL* curl = nullptr;
  HttpResponse response;
  const HttpHandlers* handlers = nullptr;
  std::optional<Error> error;  ///< of a handler
  std::size_t header_bytes = 0;
  bool accepted = false;

  // The first body byte of a good response, or its end: the headers are complete.
  bool agree() {
    if (accepted) return true;
    accepted = true;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &response.status);
    if (response.status / 100 != 2 || !handlers->accept) return true;
    if (auto result = handlers->accept(response); !result) error = std::move(result).error();
    return !error;
  }
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  Hop& hop = *static_cast<Hop*>(user);
  const std::string_view line(data, size * count);
  hop.header_bytes += line.size();
  if (hop.header_bytes > kMaxHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) {
    hop.response.headers.clear();  // a proxy's answer to CONNECT, or 100 Continue, came before
  } else if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(line.substr(0, colon));
    for (char& c : name) c = lower(c);
    hop.response.headers[name] = trim(line.substr(colon + 1));
  }
  return line.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  Hop& hop = *static_cast<Hop*>(user);
  const std::size_t bytes = size * count;
  if (!hop.agree()) return CURL_WRITEFUNC_ERROR;
  if (hop.response.status / 100 == 2 && hop.handlers->sink) {
    if (auto result = hop.handlers->sink(std::as_bytes(std::span(data, bytes))); !result) {
      hop.error = std::move(result).error();
      return CURL_WRITEFUNC_ERROR;
    }
  }
  return bytes;
}

int on_progress(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return store_interrupted() ? 1 : 0; }

Error transfer_error(CURLcode code, const char* details, const std::string& url) {
  Error error;
  error.code = code == CURLE_ABORTED_BY_CALLBACK ? ErrorCode::kCancelled : ErrorCode::kIo;
  error.message = code == CURLE_ABORTED_BY_CALLBACK ? "interrupted" : details[0] ? details : curl_easy_strerror(code);
  error.place = public_url(url);
  if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_PROXY) {
    error.hint =
        "Is the network there? A proxy is taken from https_proxy and http_proxy, a mirror of the hub from HF_ENDPOINT.";
  } else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
    error.hint = "The server's certificate is not trusted here; SSL_CERT_FILE names another list of authorities.";
  }
  return error;
}

// One request without redirects. The handlers run only where the response is not one.
Result<HttpResponse> send_once(const HttpRequest& request, const std::string& url, bool with_token,
                               const HttpHandlers& handlers) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, void (*)(CURL*)> handle(curl_easy_init(), curl_easy_cleanup);
  if (!handle) return fail(ErrorCode::kExhausted, "not enough memory for a connection");
  CURL* const curl = handle.get();
  Hop hop;
  hop.curl = curl;
  hop.handlers = &handlers;
  char details[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "kinglet");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(request.connect_seconds));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(http_silence(request.silent_seconds)));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  if (request.head) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  if (request.range_from > 0) {
    curl_easy_setopt(curl, CURLOPT_RANGE, (std::to_string(request.range_from) + "-").c_str());
  }
  if (with_token) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, request.token.c_str());
  }
  // libcurl itself reads the proxy variables, but not these two that its command line tool and OpenSSL know.
  for (const std::string_view variable : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (const std::string file = environment(variable); !file.empty()) {
      curl_easy_setopt(curl, CURLOPT_CAINFO, file.c_str());
    }
  }
  const CURLcode code = curl_easy_perform(curl);
  if (hop.error) return tl::unexpected(std::move(*hop.error));
  if (code != CURLE_OK) return tl::unexpected(transfer_error(code, details, url));
  if (!hop.agree()) return tl::unexpected(std::move(*hop.error));
  hop.response.url = url;
  if (is_redirect(hop.response.status)) {
    char* target = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &target);
    hop.response.headers["location"] = target ? target : "";
  }
  return std::move(hop.response);
}

bool is_kept_over_redirects(std::string_view name) { return name.starts_with("x-linked-") || name == "x-repo-commit"; }

}  // namespace

std::string HttpResponse::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpResponse::Length HttpResponse::length(std::string_view name) const {
  const std::string text = header(name);
  Length length;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length.bytes);
  length.known = !text.empty() && error == std::errc() && end == text.data() + text.size();
  if (!length.known) length.bytes = 0;
  return length;
}

Result<HttpResponse> http_send(const HttpRequest& request, const HttpHandlers& handlers) {
  const std::string origin = url_origin(request.url);
  if (origin.empty()) {
    return fail(ErrorCode::kInvalidArgument, "expected an http:// or https:// address", "", public_url(request.url));
  }
  std::map<std::string, std::string, std::less<>> kept;
  std::string url = request.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    const bool own_origin = url_origin(url) == origin;
    KINGLET_TRY(HttpResponse response, send_once(request, url, own_origin && !request.token.empty(), handlers));
    for (const auto& [name, value] : response.headers) {
      if (is_kept_over_redirects(name)) kept.emplace(name, value);
    }
    const std::string target = response.header("location");
    const bool stays = url_origin(target) == url_origin(url);
    if (!is_redirect(response.status) || (request.head && !stays)) {
      for (const auto& [name, value] : kept) response.headers.emplace(name, value);
      return response;
    }
    if (url_origin(target).empty()) {
      return fail(ErrorCode::kIo, "a redirect to no http(s) address", "", public_url(url));
    }
    if (url.starts_with("https:") && !target.starts_with("https:")) {
      return fail(ErrorCode::kIo, "a redirect from https to http is not followed", "", public_url(url));
    }
    url = target;
  }
  return fail(ErrorCode::kIo, "more than " + std::to_string(kMaxRedirects) + " redirects", "", public_url(request.url));
}

Result<HttpText> http_get(const HttpRequest& request, std::uint64_t max_bytes) {
  HttpText text;
  HttpHandlers handlers;
  handlers.sink = [&](std::span<const std::byte> bytes) -> Result<void> {
    if (text.body.size() + bytes.size() > max_bytes) {
      return fail(ErrorCode::kExhausted, "an answer of more than " + std::to_string(max_bytes) + " bytes", "",
                  public_url(request.url));
    }
    text.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  };
  KINGLET_TRY(text.response, http_send(request, handlers));
  if (text.response.status / 100 != 2) return http_status_error(text.response);
  return text;
}

tl::unexpected<Error> http_status_error(const HttpResponse& response) {
  const std::string place = public_url(response.url);
  const std::string message = "the server answered with status " + std::to_string(response.status);
  switch (response.status) {
    case 401:
    case 403:
      return fail(
          ErrorCode::kIo, message + ": not allowed without (other) credentials",
          "Set HF_TOKEN to a token of yours (https://huggingface.co/settings/tokens); a gated model's terms must "
          "be accepted on its page first.",
          place);
    case 404:
    case 410:
      return fail(ErrorCode::kNotFound, message + ": there is no such model or file (or it is private)",
                  "Check the spelling; for a private model set HF_TOKEN.", place);
    case 429:
      return fail(ErrorCode::kIo, message + ": too many requests", "Wait some minutes, or set HF_TOKEN.", place);
    default:
      return fail(ErrorCode::kIo, message, response.status >= 500 ? "Try again later." : "", place);
  }
}

bool http_may_try_again(long status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501);
}

std::string public_url(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const std::size_t host = scheme + 3, path = std::min(url.find('/', host), url.size());
  const std::size_t at = url.substr(0, path).rfind('@');
  return std::string(url.substr(0, host)) +
         std::string(url.substr(at == std::string_view::npos || at < host ? host : at + 1));
}

std::string url_origin(std::string_view url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, std::string(url).c_str(), 0) != CURLUE_OK) return "";
  std::string origin;
  for (const auto& [part, before] : {std::pair(CURLUPART_SCHEME, ""), {CURLUPART_HOST, "://"}, {CURLUPART_PORT, ":"}}) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, CURLU_NO_DEFAULT_PORT) == CURLUE_OK && text)
      origin += before + std::string(text);
    curl_free(text);
  }
  for (char& c : origin) c = lower(c);
  return origin.starts_with("http://") || origin.starts_with("https://") ? origin : "";
}

std::string url_path_escape(std::string_view path) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if ((lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') ||
        std::string_view("-._~/").find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += '%';
      escaped += digits[byte >> 4];
      escaped += digits[byte & 15];
    }
  }
  return escaped;
}

int http_silence(int usual) {
  const std::string text = environment("KINGLET_HTTP_TIMEOUT");
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  return error == std::errc() && end == text.data() + text.size() && seconds > 0 && seconds < 86400 ? seconds : usual;
}

}  // namespace kinglet
