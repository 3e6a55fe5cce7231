// The HDF5 driver for writing logs.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <hdf5.h>

#include "sector_checks.hpp"

namespace ness::hdf5 {

/// A driver that holds HDF5's bookkeeping, and what is written to the header, in memory until a flush, and
/// then writes it as one: to the journal, with its checks, to its places. Rows go to the file at once. What
/// it reads is compared with its check; what does not fit is not handed to HDF5. A file without checks
/// (find_checks) is written as by HDF5's own driver. Negative if HDF5 refuses the driver.
hid_t write_driver();

/// What such a driver did to its file, for tests of power failures.
struct FileAct {
  enum class Kind : std::uint8_t { write, size, sync } kind = Kind::write;
  std::uint64_t place = 0;  ///< of a write; the size
  std::vector<std::byte> bytes;
};

/// The file of a driver, while it is open.
class DriverFile {
 public:
  virtual ~DriverFile() = default;
  virtual const CheckPlaces& places() const = 0;
  /// Table `k` is at this position. `fresh`: it has just been made, and covers nothing. False, with errno, if
  /// it cannot be cleared.
  virtual bool add_table(std::size_t k, std::uint64_t position, bool fresh) = 0;
  /// What is written belongs to the header, not to rows: it is covered.
  virtual void header(bool on) = 0;
  /// Each flush is on the disk when it returns, whatever happens to the power.
  virtual void sync(bool on) = 0;
};
/// Files opened by the driver from now on report each act to the watcher before it is done. For tests.
void watch_written_files(std::function<void(const FileAct&)> watcher);
/// Of a file opened by write_driver(); null for another one.
DriverFile* driver_file(hid_t file);

}  // namespace ness::hdf5
