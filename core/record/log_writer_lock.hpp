// Who writes a log: one process at a time.
#pragma once

#include <string>

namespace ness {

/// Holds `<log>.lock` (by flock, so that it ends with the process) and removes it at the end.
class WriterLock {
 public:
  /// Throws LogError that names the holder, if another process writes the log.
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
