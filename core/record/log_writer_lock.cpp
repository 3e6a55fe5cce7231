#include "log_writer_lock.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "log_layout.hpp"
#include "ness/device/error.hpp"

namespace ness {
namespace {

// The byte that stands for the file: no log is that long, and no reader's lock of a range gets there.
constexpr off_t locked_byte = off_t{1} << 62;

std::string text_of(int descriptor) {
  std::array<char, 512> text;
  const ssize_t n = ::pread(descriptor, text.data(), text.size(), 0);
  return n > 0 ? std::string(text.data(), static_cast<std::size_t>(n)) : "an unnamed process";
}

std::string this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "process " + std::to_string(::getpid()) + " on " + host.data() + ", since " + log_layout::utc_now();
}

bool same_file(int descriptor, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(descriptor, &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

struct flock byte_lock(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = locked_byte;
  lock.l_len = 1;
  return lock;
}

}  // namespace

std::string WriterLock::path_of(const std::string& log_path) {
  std::error_code unknown;
  const std::filesystem::path real = std::filesystem::weakly_canonical(log_path, unknown);
  return (unknown ? log_path : real.string()) + ".lock";
}

WriterLock::WriterLock(const std::string& log_path) : log_(log_path), path_(path_of(log_path)) {
  try {
    take_name();
    if (::access(log_path.c_str(), F_OK) == 0) take(log_path);
  } catch (...) {
    release();
    throw;
  }
}

void WriterLock::refuse(const std::string& reason) const {
  throw LogError("cannot write the log '" + log_ + "': " + reason);
}

void WriterLock::take_name() {
  const auto fail = [&] { refuse("cannot make its lock file '" + path_ + "': " + std::strerror(errno)); };
  while (true) {
    // Only a file that was made here is written to. What stands there else, perhaps as a link to a file of
    // somebody's, is taken away where no process holds it.
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    const bool made = descriptor_ >= 0;
    if (!made && errno != EEXIST) fail();
    if (!made) descriptor_ = ::open(path_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor_ < 0) {
      if (errno == ENOENT) continue;
      if (errno == ELOOP)
        refuse("its lock file '" + path_ + "' is a link: expected a lock file of Ness, or none");
      fail();
    }
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const std::string reason =
          errno == EWOULDBLOCK ? "it is being written by " + text_of(descriptor_) : std::strerror(errno);
      ::close(std::exchange(descriptor_, -1));
      refuse(reason);
    }
    // A process that releases the lock removes the file. The file locked here may then have no name any more;
    // try again.
    const bool named = same_file(descriptor_, path_);
    if (made && named) break;
    if (named && ::unlink(path_.c_str()) != 0) fail();
    ::close(std::exchange(descriptor_, -1));
  }
  const std::string holder = this_process();
  // The text is informative: on a full disk the lock holds without it.
  static_cast<void>(::pwrite(descriptor_, holder.data(), holder.size(), 0) > 0);
}

void WriterLock::take(const std::string& path) {
  file_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file_ < 0) refuse(std::strerror(errno));
  struct flock lock = byte_lock(F_WRLCK);
  if (::fcntl(file_, F_OFD_SETLK, &lock) == 0) return;
  if (errno == EAGAIN || errno == EACCES) {
    refuse("it is being written by another process, under another name or without its lock file");
  }
  // A file system without locks: the lock file holds alone.
}

bool WriterLock::held(const std::string& log_path) {
  const int file = ::open(log_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct flock lock = byte_lock(F_RDLCK);
  const bool held = ::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(file);
  return held;
}

void WriterLock::release() {
  if (file_ >= 0) ::close(file_);
  if (descriptor_ >= 0) {
    if (same_file(descriptor_, path_)) ::unlink(path_.c_str());
    ::close(descriptor_);
  }
  file_ = descriptor_ = -1;
}

}  // namespace ness
