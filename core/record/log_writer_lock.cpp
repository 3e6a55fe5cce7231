#include "log_writer_lock.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_layout.hpp"
#include "ness/device/error.hpp"

namespace ness {
namespace {

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
  return ::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

}  // namespace

WriterLock::WriterLock(const std::string& log_path) : path_(path_of(log_path)) {
  // A process that releases the lock removes the file. The file locked here may then have no name any more;
  // try again.
  while (true) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
      throw LogError("cannot write the log '" + log_path + "': cannot make its lock file '" + path_ +
                     "': " + std::strerror(errno));
    }
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const std::string reason =
          errno == EWOULDBLOCK ? "it is being written by " + text_of(descriptor_) : std::strerror(errno);
      ::close(descriptor_);
      throw LogError("cannot write the log '" + log_path + "': " + reason);
    }
    if (same_file(descriptor_, path_)) {
      break;
    }
    ::close(descriptor_);
  }
  const std::string holder = this_process();
  // The text is informative: on a full disk the lock holds without it.
  static_cast<void>(::ftruncate(descriptor_, 0) == 0 &&
                    ::pwrite(descriptor_, holder.data(), holder.size(), 0) > 0);
}

void WriterLock::release() {
  if (descriptor_ >= 0) {
    ::unlink(path_.c_str());
    ::close(descriptor_);
    descriptor_ = -1;
  }
}

}  // namespace ness
