#include "signals.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "messages.hpp"

namespace ness {

namespace {

sigset_t awaited_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP}) sigaddset(&set, signal);
  return set;
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
  ending_ = true;
  pthread_kill(waiting_.native_handle(), SIGTERM);
  waiting_.join();
}

}  // namespace ness
