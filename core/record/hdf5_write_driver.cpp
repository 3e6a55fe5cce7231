#include "hdf5_write_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace ness::hdf5 {
namespace {

herr_t fail(hid_t minor, const std::string& reason) {
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_VFL, minor, "%s", reason.c_str());
  return -1;
}

using Watcher = std::function<void(const FileAct&)>;
Watcher& watcher_of_next() {
  static Watcher watcher;
  return watcher;
}

class WrittenFile final : public DriverFile {
 public:
  WrittenFile(int descriptor, std::uint64_t size)
      : descriptor_(descriptor), size_(size), places_(find_checks(descriptor)), watcher_(watcher_of_next()) {}
  ~WrittenFile() override { ::close(descriptor_); }
  WrittenFile(const WrittenFile&) = delete;
  WrittenFile& operator=(const WrittenFile&) = delete;

  const CheckPlaces& places() const override { return places_; }
  bool add_table(std::size_t k, std::uint64_t position, bool fresh) override;
  void header(bool on) override { header_ = on; }
  void sync(bool on) override { syncs_ = on; }

  haddr_t allocated = 0;  // by HDF5: may be beyond the file
  std::uint64_t size() const { return size_; }

  /// Reads what is to be in the file: with what waits for the flush.
  herr_t read(std::uint64_t place, std::size_t count, std::byte* out);
  herr_t write(bool rows, std::uint64_t place, std::size_t count, const std::byte* bytes);
  herr_t flush();
  herr_t resize();

 private:
  bool covered(std::uint64_t sector);
  SectorCheck& check(std::uint64_t sector);
  Sector* pending(std::uint64_t sector);
  bool verified(std::uint64_t number, Sector& sector);
  bool put(std::uint64_t place, const void* bytes, std::size_t count);
  bool put_sync();
  bool put_size(std::uint64_t size);
  bool put_checks();
  bool put_journal(bool& journalled);
  bool put_sectors();

  int descriptor_;
  std::uint64_t size_;
  CheckPlaces places_;
  // [table][sector of it]; read when first needed
  std::unordered_map<std::uint64_t, std::vector<SectorCheck>> pages_;
  Sectors pending_;
  bool tables_changed_ = false, syncs_ = false, header_ = false;
  Watcher watcher_;
};

constexpr std::uint64_t checks_per_page = sector_bytes / sizeof(SectorCheck);

// Only for sectors that have a place in a table. Tables begin with pages.
SectorCheck& WrittenFile::check(std::uint64_t sector) {
  const std::uint64_t page = sector / checks_per_page;
  auto& checks = pages_[page];
  if (checks.empty()) {
    checks.resize(checks_per_page);
    const auto place = places_.place_of(page * checks_per_page);
    if (place) read_at(descriptor_, *place, checks.data(), sector_bytes);
  }
  return checks[sector % checks_per_page];
}

bool WrittenFile::add_table(std::size_t k, std::uint64_t position, bool fresh) {
  if (fresh) {
    // HDF5 may have given it a place that something else had before.
    const std::vector<std::byte> none(std::size_t{1} << 16);
    const std::uint64_t stop = std::min(size_, position + sizeof(SectorCheck) * CheckPlaces::sectors_of(k));
    for (std::uint64_t place = position; place < stop; place += none.size())
      if (!put(place, none.data(), std::min<std::uint64_t>(none.size(), stop - place))) return false;
  }
  tables_changed_ = tables_changed_ || places_.table[k] != position;
  places_.table[k] = position;
  return true;
}

bool WrittenFile::covered(std::uint64_t sector) {
  return places_.place_of(sector) && check(sector).covered();
}

// Reads a sector, and compares it with its check.
bool WrittenFile::verified(std::uint64_t number, Sector& sector) {
  if (!read_at(descriptor_, number * sector_bytes, sector.data(), sector_bytes)) {
    fail(H5E_READERROR, std::strerror(errno));
    return false;
  }
  if (!covered(number) || check(number).fits(check_of(sector))) return true;
  fail(H5E_READERROR, bytes_of_sector(number) + " are damaged: their CRC fails");
  return false;
}

Sector* WrittenFile::pending(std::uint64_t number) {
  const auto known = pending_.find(number);
  if (known != pending_.end()) return &known->second;
  Sector sector;
  if (!verified(number, sector)) return nullptr;
  return &pending_.emplace(number, sector).first->second;
}

herr_t WrittenFile::read(std::uint64_t place, std::size_t count, std::byte* out) {
  if (!read_at(descriptor_, place, out, count)) return fail(H5E_READERROR, std::strerror(errno));
  if (!places_.known()) return 0;
  const std::uint64_t first = place / sector_bytes, last = (place + count - 1) / sector_bytes;
  Sector sector;
  for (std::uint64_t number = first; count > 0 && number <= last; ++number) {
    const auto waiting = pending_.find(number);
    if (waiting == pending_.end() && !covered(number)) continue;
    const Sector* from = &sector;
    if (waiting != pending_.end()) from = &waiting->second;
    else if (!verified(number, sector)) return -1;
    const std::uint64_t begin = std::max(place, number * sector_bytes),
                        end = std::min(place + count, (number + 1) * sector_bytes);
    std::memcpy(out + (begin - place), from->data() + (begin - number * sector_bytes), end - begin);
  }
  return 0;
}

herr_t WrittenFile::write(bool rows, std::uint64_t place, std::size_t count, const std::byte* bytes) {
  const std::uint64_t stop = place + count;
  while (place < stop) {
    const std::uint64_t number = place / sector_bytes;
    std::uint64_t end = std::min(stop, (number + 1) * sector_bytes);
    const auto direct = [&](std::uint64_t sector) {
      return !places_.known() || (rows && !header_ && !pending_.contains(sector) && !covered(sector));
    };
    if (direct(number)) {
      while (end < stop && direct(end / sector_bytes)) end = std::min(stop, end + sector_bytes);
      if (!put(place, bytes, end - place)) return fail(H5E_WRITEERROR, std::strerror(errno));
    } else {
      Sector* const sector = pending(number);
      if (sector == nullptr) return -1;
      std::memcpy(sector->data() + (place - number * sector_bytes), bytes, end - place);
    }
    bytes += end - place;
    place = end;
  }
  return 0;
}

bool WrittenFile::put(std::uint64_t place, const void* bytes, std::size_t count) {
  if (watcher_) {
    const auto* const from = static_cast<const std::byte*>(bytes);
    watcher_({FileAct::Kind::write, place, {from, from + count}});
  }
  if (!write_at(descriptor_, place, bytes, count)) return false;
  size_ = std::max(size_, place + count);
  return true;
}

bool WrittenFile::put_size(std::uint64_t size) {
  if (watcher_) watcher_({FileAct::Kind::size, size, {}});
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) return false;
  size_ = size;
  return true;
}

bool WrittenFile::put_sync() {
  if (!syncs_) return true;
  if (watcher_) watcher_({FileAct::Kind::sync, 0, {}});
  return ::fdatasync(descriptor_) == 0;
}

// More sectors than the journal holds are written without it; a kill between two of them may then take rows
// that are counted. A group of a hundred columns has some hundred sectors.
bool WrittenFile::put_journal(bool& journalled) {
  journalled = false;
  return write_journal(std::bind_front(&WrittenFile::put, this), places_, pending_, journalled);
}

bool WrittenFile::put_checks() {
  auto sector = pending_.begin();
  while (sector != pending_.end()) {
    const std::uint64_t page = sector->first / checks_per_page;
    std::uint64_t least = checks_per_page, most = 0;
    for (; sector != pending_.end() && sector->first / checks_per_page == page; ++sector) {
      if (!places_.place_of(sector->first)) continue;
      SectorCheck& one = check(sector->first);
      const std::uint32_t now = check_of(sector->second);
      one = {one.covered() ? one.after : now, now};
      least = std::min(least, sector->first % checks_per_page);
      most = std::max(most, sector->first % checks_per_page);
    }
    if (least > most) continue;
    const std::uint64_t first = page * checks_per_page + least;
    if (!put(*places_.place_of(first), &pages_[page][least], (most - least + 1) * sizeof(SectorCheck)))
      return false;
  }
  return true;
}

// The superblock first, since it has the new end; what HDF5 refers to before what refers to it, as far as
// that can be known: what is new lies at the end of the file.
bool WrittenFile::put_sectors() {
  const auto put_one = [this](const auto& one) {
    return put(one.first * sector_bytes, one.second.data(), sector_bytes);
  };
  if (!pending_.empty() && pending_.begin()->first == 0 && !put_one(*pending_.begin())) return false;
  for (auto one = pending_.rbegin(); one != pending_.rend(); ++one) {
    if (one->first != 0 && !put_one(*one)) return false;
  }
  return true;
}

herr_t WrittenFile::flush() {
  if (!places_.known()) return 0;
  if (pending_.empty() && !tables_changed_) return 0;
  const auto failed = [] { return fail(H5E_WRITEERROR, std::strerror(errno)); };
  if (allocated > size_ && !put_size(allocated)) return failed();
  // Now the rows, and what the last flush wrote to its places, are on the disk: the journal may go.
  if (!put_sync()) return failed();
  bool journalled = false;
  if (!put_journal(journalled) || !put_sync()) return failed();
  if (syncs_ && !journalled)
    return fail(H5E_WRITEERROR,
                std::to_string(pending_.size()) +
                    " sectors are more than the journal holds; expected a smaller group_rows");
  if (!put_checks()) return failed();
  if (!put_sectors()) return failed();
  if (tables_changed_) {
    if (!write_places(std::bind_front(&WrittenFile::put, this), places_)) return failed();
    tables_changed_ = false;
  }
  pending_.clear();
  return 0;
}

herr_t WrittenFile::resize() {
  // With checks the size follows at the flush.
  if (places_.known() || allocated == size_) return 0;
  return put_size(allocated) ? 0 : fail(H5E_CANTINIT, std::strerror(errno));
}

struct File {
  H5FD_t common;  // HDF5's part; must be first, because HDF5 refers to a file by it
  std::unique_ptr<WrittenFile> written;
};

WrittenFile& file_of(H5FD_t* common) { return *reinterpret_cast<File*>(common)->written; }
const WrittenFile& file_of(const H5FD_t* common) { return *reinterpret_cast<const File*>(common)->written; }

H5FD_t* open(const char* name, unsigned flags, hid_t, haddr_t) {
  if ((flags & H5F_ACC_CREAT) != 0 || (flags & H5F_ACC_RDWR) == 0) {
    fail(H5E_CANTOPENFILE, "this driver writes to files that exist");
    return nullptr;
  }
  const int descriptor = ::open(name, O_RDWR | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    fail(H5E_CANTOPENFILE, std::strerror(errno));
    if (descriptor >= 0) ::close(descriptor);
    return nullptr;
  }
  auto* file = new File{};
  file->written = std::make_unique<WrittenFile>(descriptor, static_cast<std::uint64_t>(status.st_size));
  return &file->common;
}

herr_t close(H5FD_t* common) {
  const std::unique_ptr<File> file(reinterpret_cast<File*>(common));
  return file->written->flush();
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

constexpr haddr_t last_address = static_cast<haddr_t>(-1) >> 2;

haddr_t end_of(const H5FD_t* common, H5FD_mem_t) { return file_of(common).allocated; }
herr_t set_end(H5FD_t* common, H5FD_mem_t, haddr_t end) {
  file_of(common).allocated = end;
  return 0;
}
haddr_t size_of(const H5FD_t* common, H5FD_mem_t) { return file_of(common).size(); }
herr_t handle_of(H5FD_t* common, hid_t, void** handle) {
  *handle = static_cast<DriverFile*>(&file_of(common));
  return 0;
}
herr_t read(H5FD_t* common, H5FD_mem_t, hid_t, haddr_t place, std::size_t count, void* buffer) {
  return file_of(common).read(place, count, static_cast<std::byte*>(buffer));
}
herr_t write(H5FD_t* common, H5FD_mem_t type, hid_t, haddr_t place, std::size_t count, const void* buffer) {
  return file_of(common).write(type == H5FD_MEM_DRAW, place, count, static_cast<const std::byte*>(buffer));
}
herr_t flush(H5FD_t* common, hid_t, hbool_t) { return file_of(common).flush(); }
herr_t truncate(H5FD_t* common, hid_t, hbool_t) { return file_of(common).resize(); }

H5FD_class_t description() {
  H5FD_class_t driver{};
  driver.name = "ness-write";
  driver.maxaddr = last_address;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.open = &open;
  driver.close = &close;
  driver.query = &query;
  driver.get_eoa = &end_of;
  driver.set_eoa = &set_end;
  driver.get_eof = &size_of;
  driver.get_handle = &handle_of;
  driver.read = &read;
  driver.write = &write;
  driver.flush = &flush;
  driver.truncate = &truncate;
  // Rows and bookkeeping never share a free part.
  constexpr std::array<H5FD_mem_t, H5FD_MEM_NTYPES> free_lists H5FD_FLMAP_DICHOTOMY;
  std::copy(free_lists.begin(), free_lists.end(), driver.fl_map);
  return driver;
}

}  // namespace

hid_t write_driver() {
  static const H5FD_class_t driver = description();
  static const hid_t id = H5FDregister(&driver);
  return id;
}

void watch_written_files(std::function<void(const FileAct&)> watcher) {
  watcher_of_next() = std::move(watcher);
}

DriverFile* driver_file(hid_t file) {
  const hid_t list = H5Fget_access_plist(file);
  void* handle = nullptr;
  const bool ours = list >= 0 && H5Pget_driver(list) == write_driver();
  if (!ours || H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) handle = nullptr;
  if (list >= 0) H5Pclose(list);
  return static_cast<DriverFile*>(handle);
}

}  // namespace ness::hdf5
