// A thread that writes one group of rows while the next group is being filled.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "log_file.hpp"

namespace ness {

class GroupThread {
 public:
  /// Calls `write` for each group, in order, on a separate thread with all signals blocked. If `write`
  /// throws, it is not called again.
  explicit GroupThread(std::function<void(RowGroup&)> write);
  /// Writes all groups handed over, then ends the thread.
  ~GroupThread();
  GroupThread(const GroupThread&) = delete;
  GroupThread& operator=(const GroupThread&) = delete;

  /// Hands over the group, and returns an empty one with reused memory. Waits until the group before it is
  /// written, so that at most one is being written. After a failure it returns at once and does not change
  /// the group.
  void hand_over(RowGroup& group);
  /// Waits until all groups handed over are written, or the thread has failed.
  void wait();
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  /// The exception of `write`; only after failed().
  std::exception_ptr failure() const { return failure_; }

 private:
  void run();
  bool idle() const { return !busy_ || failed(); }

  std::function<void(RowGroup&)> write_;
  std::mutex mutex_;
  std::condition_variable handed_, written_;
  RowGroup group_;  // used by the thread while busy_
  bool busy_ = false, ending_ = false;
  std::atomic<bool> failed_ = false;
  std::exception_ptr failure_;  // set before failed_
  std::thread thread_;
};

}  // namespace ness
