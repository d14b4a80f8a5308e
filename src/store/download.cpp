#include "store/download.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/try.h"
#include "store/http.h"
#include "store/layout.h"

namespace kinglet {

namespace {

constexpr int kProbeSeconds = 5;
constexpr int kAttempts = 5;  // without a byte of progress between them

// Sleeps, but not through an interruption.
bool pause(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    if (store_interrupted()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return !store_interrupted();
}

std::chrono::milliseconds pause_before(int attempt, std::uint64_t retry_after_seconds) {
  const std::int64_t wanted = static_cast<std::int64_t>(std::min<std::uint64_t>(retry_after_seconds, 60)) * 1000;
  // Who sets a short bound on silence does not want long pauses either.
  const std::int64_t own = std::min<std::int64_t>(500LL << std::min(attempt, 4), http_silence(30) * 1000LL);
  return std::chrono::milliseconds(std::max(wanted, own));
}

// "bytes 100-199/500": where it begins, and the whole size where it is told.
struct ContentRange {
  bool good = false;
  std::uint64_t begin = 0, total = 0;
};
ContentRange parse_content_range(std::string_view text) {
  ContentRange range;
  if (!text.starts_with("bytes ")) return range;
  text.remove_prefix(6);
  const std::size_t slash = text.find('/');
  const auto begin = std::from_chars(text.data(), text.data() + text.size(), range.begin);
  range.good = begin.ec == std::errc() && slash != std::string_view::npos;
  if (range.good && text.substr(slash + 1) != "*") {
    const std::string_view total = text.substr(slash + 1);
    range.good = std::from_chars(total.data(), total.data() + total.size(), range.total).ec == std::errc();
  }
  return range;
}

std::string unquoted(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

// What the server says about a file before any of it is fetched, for files that no catalogue pins.
struct Identity {
  std::string key;  ///< names the partial file
  bool may_resume = false;
  std::optional<Digest> digest;
  std::optional<std::uint64_t> bytes;
};
Result<Identity> identify(const DownloadRequest& request) {
  Identity identity{.key = "", .may_resume = false, .digest = request.digest, .bytes = request.bytes};
  if (request.digest) {
    identity.key = request.digest->hex();
    identity.may_resume = true;
    return identity;
  }
  HttpRequest head{.url = request.url, .head = true, .token = request.token};
  if (request.probing) head.connect_seconds = kProbeSeconds, head.silent_seconds = kProbeSeconds;
  KINGLET_TRY(const HttpResponse response, http_send(head));
  if (response.status == 401 || response.status == 403 || response.status == 404) return http_status_error(response);
  const std::string linked = unquoted(response.header("x-linked-etag"));
  if (const auto digest = Digest::parse(linked)) identity.digest = *digest;
  if (const auto size = response.length("x-linked-size"); size.known) {
    identity.bytes = size.bytes;
  } else if (const auto length = response.length(); length.known && response.status / 100 == 2) {
    identity.bytes = length.bytes;
  }
  const std::string etag = linked.empty() ? response.header("etag") : linked;
  identity.may_resume = !etag.empty();
  identity.key = identity.digest ? identity.digest->hex() : sha256(request.url + "\n" + etag).hex();
  return identity;
}

// One download's state over its attempts.
class Transfer {
 public:
  Transfer(const DownloadRequest& request, Identity identity,
           const std::function<void(std::uint64_t, std::uint64_t)>& progress)
      : request_(request), identity_(std::move(identity)), progress_(progress) {}

  Result<FetchedFile> run() {
    KINGLET_CHECK(start());
    std::uint64_t retry_after = 0;
    for (int attempt = 0;;) {
      const std::uint64_t before = transferred_;
      auto result = attempt_once(retry_after);
      if (result) break;
      if (!again_ || (transferred_ == 0 && request_.probing)) return tl::unexpected(std::move(result).error());
      attempt = transferred_ > before ? 1 : attempt + 1;
      if (attempt >= kAttempts) {
        Error error = std::move(result).error();
        if (error.hint.empty()) error.hint = "Repeat the command: it goes on where it was.";
        return tl::unexpected(std::move(error));
      }
      if (!pause(pause_before(attempt - 1, retry_after))) return cancelled();
    }
    const std::uint64_t bytes = file_->bytes();
    const std::string path = file_->path();
    KINGLET_TRY(const Digest digest, file_->finish(identity_.digest, public_url(request_.url)));
    return FetchedFile{path, digest, bytes, transferred_};
  }

 private:
  tl::unexpected<Error> cancelled() const {
    return fail(ErrorCode::kCancelled, "interrupted", "Repeat the command: it goes on where it was.");
  }

  Result<void> start() {
    const auto there = file_size(PartialFile::path_of(identity_.key));
    std::uint64_t keep = there && identity_.may_resume ? *there : 0;
    if (identity_.bytes && keep > *identity_.bytes) keep = 0;
    return open(keep);
  }

  Result<void> open(std::uint64_t keep) {
    file_.reset();
    KINGLET_TRY(auto file, PartialFile::open(identity_.key, keep));
    file_ = std::make_unique<PartialFile>(std::move(file));
    return {};
  }

  // The size is checked before the first byte is kept.
  Result<void> accept(const HttpResponse& response) {
    const auto length = response.length();
    std::optional<std::uint64_t> total;
    if (response.status == 206) {
      const ContentRange range = parse_content_range(response.header("content-range"));
      if (!range.good || range.begin != file_->bytes()) {
        return fail(ErrorCode::kIo, "the server sent another part than was asked for", "", public_url(request_.url));
      }
      if (range.total) total = range.total;
    } else {
      if (file_->bytes() > 0) KINGLET_CHECK(open(0));  // it does not do ranges: all of it comes again
      if (length.known) total = length.bytes;
    }
    if (total && identity_.bytes && *total != *identity_.bytes) {
      again_ = false;
      return fail(ErrorCode::kCorrupt,
                  "expected a file of " + std::to_string(*identity_.bytes) + " bytes, the server has one of " +
                      std::to_string(*total),
                  "", public_url(request_.url));
    }
    total_ = total ? total : identity_.bytes;
    if (!total_) return {};
    auto space = check_space(*total_ - std::min(*total_, file_->bytes()));
    if (!space) again_ = false;
    return space;
  }

  Result<void> take(std::span<const std::byte> bytes) {
    if (total_ && bytes.size() > *total_ - std::min(*total_, file_->bytes())) {
      again_ = false;
      return fail(ErrorCode::kCorrupt, "the server sent more than the " + std::to_string(*total_) + " bytes it told",
                  "", public_url(request_.url));
    }
    auto written = file_->write(bytes);
    if (!written) again_ = false;
    transferred_ += bytes.size();
    if (progress_) progress_(file_->bytes(), total_.value_or(0));
    return written;
  }

  Result<void> attempt_once(std::uint64_t& retry_after) {
    again_ = true;
    retry_after = 0;
    if (identity_.bytes && file_->bytes() == *identity_.bytes) return {};
    HttpRequest get{.url = request_.url, .head = false, .token = request_.token};
    get.range_from = file_->bytes();
    if (request_.probing) get.connect_seconds = kProbeSeconds;
    if (request_.probing && transferred_ == 0) get.silent_seconds = kProbeSeconds;
    HttpHandlers handlers;
    handlers.accept = [&](const HttpResponse& response) { return accept(response); };
    handlers.sink = [&](std::span<const std::byte> bytes) { return take(bytes); };
    auto response = http_send(get, handlers);
    if (!response) {
      if (response.error().code == ErrorCode::kCancelled) {
        again_ = false;
        return cancelled();
      }
      return tl::unexpected(std::move(response).error());
    }
    if (response->status == 416 && file_->bytes() > 0) {
      KINGLET_CHECK(open(0));
      return fail(ErrorCode::kIo, "the server has less than was already there", "", public_url(request_.url));
    }
    if (response->status / 100 != 2) {
      again_ = http_may_try_again(response->status);
      retry_after = response->length("retry-after").bytes;
      return http_status_error(*response);
    }
    if (total_ && file_->bytes() < *total_) {
      return fail(ErrorCode::kIo, "the connection was cut", "", public_url(request_.url));
    }
    return {};
  }

  const DownloadRequest& request_;
  Identity identity_;
  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
  std::unique_ptr<PartialFile> file_;
  std::optional<std::uint64_t> total_;
  std::uint64_t transferred_ = 0;
  bool again_ = true;  ///< whether the last error may go away by itself
};

}  // namespace

std::string PartialFile::path_of(std::string_view key) {
  return partial_folder() + "/" + std::string(key) + ".partial";
}

PartialFile::PartialFile(PartialFile&&) noexcept = default;
PartialFile& PartialFile::operator=(PartialFile&&) noexcept = default;
PartialFile::~PartialFile() = default;

Result<PartialFile> PartialFile::open(std::string_view key, std::uint64_t keep) {
  PartialFile partial;
  partial.path_ = path_of(key);
  if (keep > 0) {
    KINGLET_TRY(auto there, RegularFile::open(partial.path_));
    std::vector<std::byte> buffer(1 << 20);
    while (partial.bytes_ < keep) {
      const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), keep - partial.bytes_));
      KINGLET_TRY(const std::size_t count, there.read(std::span(buffer).first(want)));
      if (count == 0) return fail(ErrorCode::kIo, "the partial file became shorter", "", partial.path_);
      partial.hash_.update(std::span(buffer).first(count));
      partial.bytes_ += count;
      if (store_interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    }
  } else {
    KINGLET_CHECK(remove_file(partial.path_));  // a finished one is read-only
  }
  KINGLET_TRY(partial.file_, AppendFile::open(partial.path_, keep));
  return partial;
}

Result<void> PartialFile::write(std::span<const std::byte> bytes) {
  KINGLET_CHECK(file_->write(bytes));
  hash_.update(bytes);
  bytes_ += bytes.size();
  return {};
}

Result<Digest> PartialFile::finish(const std::optional<Digest>& expected, const std::string& place) {
  KINGLET_CHECK(file_->close());
  const Digest digest = hash_.finish();
  if (expected && digest != *expected) {
    KINGLET_CHECK(remove_file(path_));
    return fail(ErrorCode::kCorrupt, "expected the SHA-256 " + expected->hex() + ", found " + digest.hex(),
                "What was downloaded is removed. If this happens again, the file at the source was changed.", place);
  }
  KINGLET_CHECK(make_read_only(path_));
  return digest;
}

Result<FetchedFile> download(const DownloadRequest& request,
                             const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  KINGLET_TRY(Identity identity, identify(request));
  KINGLET_TRY(const auto lock, FileLock::acquire(partial_folder() + "/" + identity.key + ".lock", store_may_wait));
  return Transfer(request, std::move(identity), progress).run();
}

}  // namespace kinglet
