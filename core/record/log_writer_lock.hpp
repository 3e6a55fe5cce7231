// Lock of a log for writing, held by one process at a time.
#pragma once

#include <string>

namespace ness {

/// Holds `<log>.lock` (by flock, so the lock ends with the process) and removes it at the end.
class WriterLock {
 public:
  /// Throws LogError, naming the holder, if another process writes the log.
  explicit WriterLock(const std::string& log_path);
  ~WriterLock() { release(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;
  void release();

  static std::string path_of(const std::string& log_path) { return log_path + ".lock"; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace ness
