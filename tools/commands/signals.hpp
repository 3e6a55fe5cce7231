// Signals, turned into stop requests.
#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

namespace ness {

/// Turns SIGINT, SIGTERM, SIGHUP and SIGQUIT into a request to stop; the second one leaves the process at
/// once (exit code 130), unless a bench is live. A broken pipe and a file beyond its size limit are answered
/// by the failing call instead. Make it before any other thread: threads inherit the blocked signals. A
/// signal that reaches a thread which a library started earlier is passed on. One a process.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  std::stop_token token() const { return source_.get_token(); }
  /// From now on the first signal leaves at once: for work that has nothing to end cleanly.
  void leave_at_first() { at_first_ = true; }
  /// A bench is live, or no longer. While it is, only SIGKILL ends the process before its outputs are safe,
  /// and Ctrl-Z does not suspend it.
  void live(bool on) { live_ = on; }

 private:
  void received(int signal);
  std::stop_source source_;
  std::atomic<bool> ending_ = false, at_first_ = false, live_ = false;
  std::thread waiting_;
};

}  // namespace ness
