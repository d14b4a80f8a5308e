#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/environment.h"
#include "base/file.h"
#include "base/file_descriptor.h"

extern char** environ;

namespace kinglet {

namespace {

constexpr std::size_t kKeptOutput = 64 << 10;

std::vector<std::string> merged_environment(const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : added) replaced = replaced || text.starts_with(name + "=");
    if (!replaced) merged.emplace_back(text);
  }
  for (const auto& [name, value] : added) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// PATH is searched before the fork, where memory may still be allocated. "": nothing of that name can be run.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const std::string path = environment("PATH");
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (end > begin && file_exists(candidate) && access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return "";
}

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(const char* program, char* const* arguments, char* const* environment, const char* folder,
                         int input, int output, pid_t parent) {
  setpgid(0, 0);  // a group of its own: programs that it starts in turn (wrappers of pyenv) are stopped with it
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  for (const int signal_number : {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGALRM}) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (folder[0] && chdir(folder) != 0) _exit(127);
  if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) _exit(127);
  execve(program, arguments, environment);
  _exit(127);
}

// Takes what has come; false once the other end is closed.
bool take_output(int pipe, std::string& output) {
  char buffer[8192];
  const ssize_t count = read(pipe, buffer, sizeof buffer);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  output.append(buffer, static_cast<std::size_t>(count));
  if (output.size() > 2 * kKeptOutput) output.erase(0, output.size() - kKeptOutput);
  return count > 0;
}

// Waits for the child while its output is read; kills it when `tick` says so. True: it was stopped.
bool supervise(pid_t child, int pipe, const std::function<bool()>& tick, ProcessResult& result) {
  using Clock = std::chrono::steady_clock;
  bool open = true, stopped = false;
  Clock::time_point kill_at;
  for (int status = 0;;) {
    pollfd poller = {.fd = open ? pipe : -1, .events = POLLIN, .revents = 0};
    poll(&poller, 1, 100);
    if (poller.revents) open = take_output(pipe, result.output);
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child || (ended < 0 && errno == ECHILD)) {
      while (open && poll(&poller, 1, 0) > 0 && poller.revents) open = take_output(pipe, result.output);
      result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      return stopped;
    }
    if (!stopped && tick && !tick()) {
      stopped = true;
      kill_at = Clock::now() + std::chrono::seconds(2);
      kill(-child, SIGTERM);
    }
    if (stopped && Clock::now() > kill_at) kill(-child, SIGKILL);
  }
}

}  // namespace

Result<ProcessResult> run_process(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  if (arguments.empty()) return fail(ErrorCode::kInternal, "no program to run");
  const std::string program = find_program(arguments[0]);
  if (program.empty()) return fail(ErrorCode::kNotFound, "there is no program " + arguments[0] + " in PATH");
  std::vector<std::string> argument_texts = arguments, variables = merged_environment(options.environment);
  const std::vector<char*> argument_pointers = pointers(argument_texts), variable_pointers = pointers(variables);

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("cannot make a pipe", program, errno);
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const Descriptor input(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return fail_errno("cannot start", program, errno);
  if (child == 0) {
    become(program.c_str(), argument_pointers.data(), variable_pointers.data(), options.folder.c_str(), input.get(),
           writing.get(), parent);
  }
  setpgid(child, child);  // whoever of the two comes first
  writing = Descriptor();
  ProcessResult result;
  if (supervise(child, reading.get(), options.tick, result)) {
    return fail(ErrorCode::kCancelled, "interrupted", "", arguments[0]);
  }
  if (result.output.size() > kKeptOutput) result.output.erase(0, result.output.size() - kKeptOutput);
  return result;
}

}  // namespace kinglet
