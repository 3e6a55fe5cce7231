#include "group_thread.hpp"

#include <csignal>
#include <utility>

namespace ness {

GroupThread::GroupThread(std::function<void(RowGroup&)> write) : write_(std::move(write)) {
  // A thread inherits the signal mask of its creator.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

GroupThread::~GroupThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  handed_.notify_one();
  thread_.join();
}

void GroupThread::hand_over(RowGroup& group) {
  {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [&] { return idle(); });
    if (failed()) return;
    std::swap(group_, group);
    busy_ = true;
  }
  handed_.notify_one();
}

void GroupThread::wait() {
  std::unique_lock lock(mutex_);
  written_.wait(lock, [&] { return idle(); });
}

void GroupThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    handed_.wait(lock, [&] { return busy_ || ending_; });
    if (!busy_) return;
    lock.unlock();
    try {
      write_(group_);
    } catch (...) {
      failure_ = std::current_exception();
      failed_.store(true, std::memory_order_release);
    }
    lock.lock();
    busy_ = false;
    written_.notify_one();
    if (failed()) return;
  }
}

}  // namespace ness
