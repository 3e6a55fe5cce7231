#include "hdf5_read_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "sector_checks.hpp"

namespace ness::hdf5 {
namespace {

struct File {
  H5FD_t common;  // HDF5's part; must be first, because HDF5 refers to a file by it
  int descriptor;
  haddr_t size;
  CheckPlaces places;
  Sectors journal;  // what a writer that died has not written to its place
};

File& file_of(H5FD_t* common) { return *reinterpret_cast<File*>(common); }
const File& file_of(const H5FD_t* common) { return *reinterpret_cast<const File*>(common); }

herr_t fail(hid_t minor, const std::string& reason) {
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_VFL, minor, "%s", reason.c_str());
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
  file->places = find_checks(descriptor);
  file->journal = unfinished_flush(descriptor, file->places);
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

// The checks of the sectors from `first` on; those that the file has no place for are not covered.
std::vector<SectorCheck> checks_of(File& file, std::uint64_t first, std::uint64_t count) {
  std::vector<SectorCheck> checks(count);
  if (!file.places.known()) return checks;
  // A log that is being written gets tables.
  if ((first + count) * sector_bytes > file.places.reach()) {
    if (const CheckPlaces now = find_checks(file.descriptor); now.known()) file.places = now;
  }
  for (std::uint64_t i = 0; i < count;) {
    const auto place = file.places.place_of(first + i);
    if (!place) break;
    std::uint64_t together = 1;  // in one table
    while (i + together < count && file.places.place_of(first + i + together) ==
                                       std::optional<std::uint64_t>(*place + sizeof(SectorCheck) * together))
      ++together;
    if (!read_at(file.descriptor, *place, &checks[i], together * sizeof(SectorCheck))) return {};
    i += together;
  }
  return checks;
}

// A sector that is covered, as it was meant to be. The writer may be between its check and the sector itself.
herr_t read_covered(File& file, std::uint64_t number, SectorCheck check, Sector& sector) {
  constexpr int tries = 5;
  for (int i = 0; i < tries; ++i) {
    if (const auto held = file.journal.find(number); held != file.journal.end() && i == 0) {
      sector = held->second;
      return 0;
    }
    if (!read_at(file.descriptor, number * sector_bytes, sector.data(), sector_bytes))
      return fail(H5E_READERROR, std::strerror(errno));
    if (check.fits(check_of(sector))) return 0;
    const std::vector<SectorCheck> again = checks_of(file, number, 1);
    if (again.empty()) break;
    check = again.front();
    if (!check.covered()) return 0;
  }
  return fail(H5E_READERROR, bytes_of_sector(number) + " are damaged: their CRC fails");
}

herr_t read(H5FD_t* common, H5FD_mem_t, hid_t, haddr_t address, std::size_t count, void* buffer) {
  File& file = file_of(common);
  auto* const out = static_cast<std::byte*>(buffer);
  if (!read_at(file.descriptor, address, out, count)) return fail(H5E_READERROR, std::strerror(errno));
  if (count == 0 || !file.places.known()) return 0;
  const std::uint64_t first = address / sector_bytes, last = (address + count - 1) / sector_bytes;
  const std::vector<SectorCheck> checks = checks_of(file, first, last - first + 1);
  if (checks.empty()) return fail(H5E_READERROR, std::strerror(errno));
  Sector sector;
  for (std::uint64_t number = first; number <= last; ++number) {
    if (!checks[number - first].covered() && !file.journal.contains(number)) continue;
    if (read_covered(file, number, checks[number - first], sector) < 0) return -1;
    const std::uint64_t begin = std::max<std::uint64_t>(address, number * sector_bytes),
                        end = std::min<std::uint64_t>(address + count, (number + 1) * sector_bytes);
    std::memcpy(out + (begin - address), sector.data() + (begin - number * sector_bytes), end - begin);
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
