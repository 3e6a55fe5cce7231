#include "hdf5_read_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace ness::hdf5 {
namespace {

struct File {
  H5FD_t common;  // HDF5's part; must be first, because HDF5 refers to a file by it
  int descriptor;
  haddr_t size;
};

File& file_of(H5FD_t* common) { return *reinterpret_cast<File*>(common); }
const File& file_of(const H5FD_t* common) { return *reinterpret_cast<const File*>(common); }

herr_t fail(hid_t minor, const char* reason) {
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_VFL, minor, "%s", reason);
  return -1;
}

H5FD_t* open(const char* name, unsigned flags, hid_t, haddr_t) {
  if ((flags & H5F_ACC_RDWR) != 0) {
    fail(H5E_CANTOPENFILE, "opened for writing by a driver that reads");
    return nullptr;
  }
  const int descriptor = ::open(name, O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    fail(H5E_CANTOPENFILE, std::strerror(errno));
    if (descriptor >= 0) ::close(descriptor);
    return nullptr;
  }
  auto* file = new File{};
  file->descriptor = descriptor;
  file->size = static_cast<haddr_t>(status.st_size);
  return &file->common;
}

herr_t close(H5FD_t* common) {
  const std::unique_ptr<File> file(&file_of(common));
  return ::close(file->descriptor) == 0 ? 0 : fail(H5E_CANTCLOSEFILE, std::strerror(errno));
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_ACCUMULATE_METADATA_READ | H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

// HDF5 refuses addresses beyond the end of the file at opening. A log that is being written grows: a column
// that was blank may get its first chunk there.
constexpr haddr_t no_end = static_cast<haddr_t>(-1) >> 2;

haddr_t allocated(const H5FD_t*, H5FD_mem_t) { return no_end; }
herr_t allocate(H5FD_t*, H5FD_mem_t, haddr_t) { return 0; }

haddr_t size(const H5FD_t* common, H5FD_mem_t) { return file_of(common).size; }

herr_t read(H5FD_t* common, H5FD_mem_t, hid_t, haddr_t address, std::size_t count, void* buffer) {
  auto* out = static_cast<char*>(buffer);
  while (count > 0) {
    const ssize_t n = ::pread(file_of(common).descriptor, out, std::min(count, std::size_t{1} << 30),
                              static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(H5E_READERROR, std::strerror(errno));
    if (n == 0) {  // allocated, but never written
      std::memset(out, 0, count);
      return 0;
    }
    out += n;
    address += static_cast<haddr_t>(n);
    count -= static_cast<std::size_t>(n);
  }
  return 0;
}

herr_t write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, std::size_t, const void*) {
  return fail(H5E_WRITEERROR, "written to by a driver that reads");
}

H5FD_class_t description() {
  H5FD_class_t driver{};
  driver.name = "ness-read";
  driver.maxaddr = no_end;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.open = &open;
  driver.close = &close;
  driver.query = &query;  // without `cmp`, each opening is a separate file
  driver.get_eoa = &allocated;
  driver.set_eoa = &allocate;
  driver.get_eof = &size;
  driver.read = &read;
  driver.write = &write;
  return driver;  // fl_map stays 0, H5FD_MEM_DEFAULT: one address space for all
}

}  // namespace

hid_t read_driver() {
  static const H5FD_class_t driver = description();
  static const hid_t id = H5FDregister(&driver);
  return id;
}

}  // namespace ness::hdf5
