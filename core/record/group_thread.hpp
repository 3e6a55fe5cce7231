// A thread that writes groups while the next is being filled.
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
  /// Calls `write` for each group, in order, on a thread of its own, which takes no signals. After one that throws it is not called again.
  explicit GroupThread(std::function<void(RowGroup&)> write);
  /// Writes what was handed over, and ends.
  ~GroupThread();
  GroupThread(const GroupThread&) = delete;
  GroupThread& operator=(const GroupThread&) = delete;

  /// Gives the group away, and an empty one with its memory back. Waits for the group before it, so that never more than one is being
  /// written. Once the thread has failed it returns at once, the group untouched.
  void hand_over(RowGroup& group);
  /// Until everything handed over is written, or the thread has failed.
  void wait();
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  /// What `write` threw; once failed() only.
  std::exception_ptr failure() const { return failure_; }

 private:
  void run();
  bool idle() const { return !busy_ || failed(); }

  std::function<void(RowGroup&)> write_;
  std::mutex mutex_;
  std::condition_variable handed_, written_;
  RowGroup group_;       // the thread's while busy_
  bool busy_ = false, ending_ = false;
  std::atomic<bool> failed_ = false;
  std::exception_ptr failure_;  // set before failed_
  std::thread thread_;
};

}  // namespace ness
