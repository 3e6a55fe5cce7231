// Lock of a log for writing, held by one process at a time.
#pragma once

#include <string>

namespace ness {

/// Holds a log for writing, twice. The file itself is locked, by an open file description's lock on one byte
/// far beyond its end: by whatever name another process comes (a link, another path, a removed lock file), it
/// is refused, and readers, which HDF5 lets lock whole files by flock, are not. And `<log>.lock` beside it,
/// locked by flock, says who holds it, and holds the name of a log that is not a file yet. Both end with the
/// process.
class WriterLock {
 public:
  /// Takes the lock file, and the log itself where it exists already. Links are followed to the log, but the
  /// lock file is never one. Throws LogError, naming the holder, if another process writes the log.
  explicit WriterLock(const std::string& log_path);
  ~WriterLock() { release(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;
  /// Takes the log itself: a file that has been made at `path` and is to get the log's name.
  void take(const std::string& path);
  void release();
  /// The log, open for reading and writing; -1 before it is taken.
  int file() const { return file_; }

  /// Whether a process writes the file at this path.
  static bool held(const std::string& log_path);
  static std::string path_of(const std::string& log_path);

 private:
  void take_name();
  [[noreturn]] void refuse(const std::string& reason) const;
  std::string log_, path_;
  int descriptor_ = -1, file_ = -1;
};

}  // namespace ness
