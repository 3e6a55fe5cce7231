#include "signals.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "messages.hpp"

namespace ness {

namespace {

constexpr std::array awaited{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

sigset_t awaited_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : awaited) sigaddset(&set, signal);
  return set;
}

std::atomic<pthread_t> waiter{};

// A library may have started threads when it was loaded (OpenBLAS does). They do not block the signals, so
// the system delivers a signal to them; without a handler it would end the process, whatever is switched on.
extern "C" void pass_to_waiter(int signal) {
  const int before = errno;
  pthread_kill(waiter, signal);
  errno = before;
}

}  // namespace

StopOnSignal::StopOnSignal() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  const sigset_t set = awaited_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiting_ = std::thread([this, set] {
    while (true) {
      int signal = 0;
      if (sigwait(&set, &signal) != 0) continue;
      if (ending_) return;
      received(signal);
    }
  });
  waiter = waiting_.native_handle();
  struct sigaction action {};
  action.sa_handler = pass_to_waiter;
  action.sa_mask = set;
  action.sa_flags = SA_RESTART;
  for (const int signal : awaited) sigaction(signal, &action, nullptr);
}

void StopOnSignal::received(int signal) {
  if (signal == SIGTSTP) {
    if (live_) warn("the bench is live: it is not left standing (Ctrl-C stops the run and makes it safe)");
    else ::raise(SIGSTOP);
    return;
  }
  if (live_ && source_.stop_requested()) {
    warn("the outputs are being made safe; this does not take long");
    return;
  }
  if (at_first_ || source_.stop_requested()) ::_exit(130);
  source_.request_stop();
}

StopOnSignal::~StopOnSignal() {
  // Nothing is to be stopped any more: signals end the process at once.
  for (const int signal : awaited) ::signal(signal, SIG_DFL);
  ending_ = true;
  pthread_kill(waiting_.native_handle(), SIGTERM);
  waiting_.join();
}

}  // namespace ness
