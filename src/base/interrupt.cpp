#include "base/interrupt.h"

#include <sys/time.h>
#include <unistd.h>
#include <csignal>

namespace kinglet {
namespace {

volatile std::sig_atomic_t received = 0;
volatile std::sig_atomic_t ends_unheard = 1;

void set_timer(long seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = seconds;
  setitimer(ITIMER_REAL, &timer, nullptr);
}

// Only async-signal-safe calls here.
extern "C" void on_signal(int signal) {
  if (received != 0) _exit(128 + signal);
  received = signal;
  if (ends_unheard != 0) set_timer(1);  // nobody looked at the flag within a second: end without them
}

extern "C" void on_alarm(int) {
  if (received != 0) _exit(128 + received);
}

}  // namespace

bool interrupted() {
  if (received == 0) return false;
  set_timer(0);
  return true;
}

void end_when_unheard(bool ends) { ends_unheard = ends ? 1 : 0; }

int interrupt_signal() { return received; }

void clear_interrupt() {
  set_timer(0);
  received = 0;
}

void install_signal_handlers() {
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_signal;  // without SA_RESTART, so that a blocked read returns
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

}  // namespace kinglet
