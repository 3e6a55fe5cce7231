#include "log_checks.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

#include "hdf5_write_driver.hpp"
#include "ness/device/error.hpp"

namespace ness::log_layout {
namespace {

using hdf5::Calls;
using hdf5::CheckPlaces;
using hdf5::Handle;

std::string name_of(std::size_t k) { return "checks/table" + std::to_string(k); }

std::uint64_t place_of(Calls& calls, hid_t dataset, const std::string& name) {
  const haddr_t place = H5Dget_offset(dataset);
  if (place == HADDR_UNDEF || place % hdf5::sector_bytes != 0)
    calls.fail("make '" + name + "'", "it has no place of its own in the file");
  return place;
}

// Space without values: those are written beside HDF5.
Handle create_space(Calls& calls, hid_t parent, const std::string& name, hid_t type,
                    std::span<const hsize_t> dims, const char* meaning) {
  const std::string doing = "make '" + name + "'";
  const Handle space(calls, H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose,
                     doing);
  const Handle list(calls, H5Pcreate(H5P_DATASET_CREATE), H5Pclose, doing);
  calls(H5Pset_obj_track_times(list, false), doing);
  calls(H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY), doing);
  calls(H5Pset_fill_time(list, H5D_FILL_TIME_NEVER), doing);
  Handle dataset(calls, H5Dcreate2(parent, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT),
                 H5Dclose, doing);
  hdf5::write_attribute(calls, dataset, "units", "1");
  hdf5::write_attribute(calls, dataset, "long_name", meaning);
  return dataset;
}

// Its position.
std::uint64_t create_table_of_checks(Calls& calls, hid_t file, std::size_t k) {
  const std::array<hsize_t, 2> dims{CheckPlaces::sectors_of(k), 2};
  const Handle dataset = create_space(
      calls, file, name_of(k), H5T_STD_U32LE, dims,
      "CRC-32 (zlib) of each 4096 bytes of the file that hold bookkeeping of HDF5 or the header, "
      "before and after they were last written; 0: none");
  return place_of(calls, dataset, name_of(k));
}

}  // namespace

CheckPlaces create_checks(Calls& calls, hid_t file, const std::function<void()>& header) {
  const Handle group = hdf5::create_group(calls, file, "checks", "NXcollection");
  CheckPlaces places;
  {
    const std::array<hsize_t, 1> one{hdf5::sector_bytes};
    const Handle dataset = create_space(calls, file, "checks/header", H5T_STD_U8LE, one,
                                        "where the tables and the journal are, twice");
    places.header = place_of(calls, dataset, "checks/header");
  }
  places.table[0] = create_table_of_checks(calls, file, 0);
  header();
  // Behind the header, of which a file that is cut then keeps most.
  const std::array<hsize_t, 1> journal{CheckPlaces::journal_sectors * hdf5::sector_bytes};
  const Handle dataset = create_space(calls, file, "checks/journal", H5T_STD_U8LE, journal,
                                      "what was written last to such bytes");
  places.journal = place_of(calls, dataset, "checks/journal");
  // A header may be larger than the first table reaches: it holds data sets.
  hsize_t size = 0;
  for (std::size_t k = 1; k < CheckPlaces::tables; ++k) {
    calls(H5Fget_filesize(file, &size), "size the new file");
    if (places.reach() > size) break;
    places.table[k] = create_table_of_checks(calls, file, k);
  }
  return places;
}

void reach_beyond(Calls& calls, hid_t file, std::uint64_t end) {
  hdf5::DriverFile* const driver = hdf5::driver_file(file);
  if (driver == nullptr || !driver->places().known()) return;
  for (std::size_t k = 1; k < CheckPlaces::tables; ++k) {
    const std::string name = name_of(k);
    if (k < driver->places().made()) continue;
    const bool exists = hdf5::exists(calls, file, name);
    if (!exists && driver->places().reach() > end) return;
    const std::uint64_t place = exists ? place_of(calls, hdf5::open_dataset(calls, file, name), name)
                                       : create_table_of_checks(calls, file, k);
    if (!driver->add_table(k, place, !exists)) calls.fail("make '" + name + "'", std::strerror(errno));
  }
}

void complete_last_flush(int descriptor, const std::string& path) {
  if (!hdf5::complete_from_journal(descriptor, hdf5::find_checks(descriptor)))
    throw LogError("cannot write the log '" + path + "': " + std::strerror(errno));
}

void cut(int descriptor, const std::string& path, std::uint64_t end) {
  struct stat status {};
  const CheckPlaces places = hdf5::find_checks(descriptor);
  if (::fstat(descriptor, &status) != 0 || ::ftruncate(descriptor, static_cast<off_t>(end)) != 0 ||
      !hdf5::uncover(descriptor, places, end, static_cast<std::uint64_t>(status.st_size)))
    throw LogError("cannot write the log '" + path + "': " + std::strerror(errno));
}

}  // namespace ness::log_layout
