#include "signals.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace ness {

namespace {

sigset_t stopping_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set, signal);
  return set;
}

}  // namespace

StopOnSignal::StopOnSignal() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  const sigset_t set = stopping_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiting_ = std::thread([this, set] {
    while (true) {
      int received = 0;
      if (sigwait(&set, &received) != 0) continue;
      if (ending_) return;
      if (at_first_ || source_.stop_requested()) _exit(130);
      source_.request_stop();
    }
  });
}

StopOnSignal::~StopOnSignal() {
  ending_ = true;
  pthread_kill(waiting_.native_handle(), SIGTERM);
  waiting_.join();
}

}  // namespace ness
