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

// Space without values: those are written beside HDF5. `now`: it is allocated at once.
Handle create_space(Calls& calls, hid_t parent, const std::string& name, hid_t type,
                    std::span<const hsize_t> dims, bool now, const char* meaning) {
  const std::string doing = "make '" + name + "'";
  const Handle space(calls, H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose,
                     doing);
  const Handle list(calls, H5Pcreate(H5P_DATASET_CREATE), H5Pclose, doing);
  calls(H5Pset_obj_track_times(list, false), doing);
  calls(H5Pset_alloc_time(list, now ? H5D_ALLOC_TIME_EARLY : H5D_ALLOC_TIME_LATE), doing);
  calls(H5Pset_fill_time(list, H5D_FILL_TIME_NEVER), doing);
  Handle dataset(calls, H5Dcreate2(parent, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT),
                 H5Dclose, doing);
  hdf5::write_attribute(calls, dataset, "units", "1");
  hdf5::write_attribute(calls, dataset, "long_name", meaning);
  return dataset;
}

}  // namespace

CheckPlaces create_checks(Calls& calls, hid_t file, const std::function<void()>& header) {
  const Handle group = hdf5::create_group(calls, file, "checks", "NXcollection");
  const auto made = [&](const std::string& name, hid_t type, std::span<const hsize_t> dims, bool now,
                        const char* meaning) -> std::uint64_t {
    const Handle dataset = create_space(calls, file, "checks/" + name, type, dims, now, meaning);
    return now ? place_of(calls, dataset, name) : 0;
  };
  CheckPlaces places;
  const std::array<hsize_t, 1> one{hdf5::sector_bytes};
  places.header = made("header", H5T_STD_U8LE, one, true, "where the tables and the journal are, twice");
  for (std::size_t k = 0; k < CheckPlaces::tables; ++k) {
    const std::array<hsize_t, 2> dims{CheckPlaces::sectors_of(k), 2};
    places.table[k] =
        made("table" + std::to_string(k), H5T_STD_U32LE, dims, k == 0,
             "CRC-32 (zlib) of each 4096 bytes of the file that hold bookkeeping of HDF5 or the "
             "header, before and after they were last written; 0: none");
  }
  header();
  // Behind the header, of which a file that is cut then keeps most.
  const std::array<hsize_t, 1> journal{CheckPlaces::journal_sectors * hdf5::sector_bytes};
  places.journal = made("journal", H5T_STD_U8LE, journal, true, "what was written last to such bytes");
  return places;
}

void reach_beyond(Calls& calls, hid_t file, std::uint64_t end) {
  hdf5::DriverFile* const driver = hdf5::driver_file(file);
  if (driver == nullptr || !driver->places().known()) return;
  for (std::size_t k = 1; k < CheckPlaces::tables; ++k) {
    const std::string name = name_of(k);
    if (k < driver->places().made()) continue;
    const Handle dataset = hdf5::open_dataset(calls, file, name);
    const bool exists = H5Dget_offset(dataset) != HADDR_UNDEF;
    if (!exists && driver->places().reach() > end) return;
    if (!exists) {
      // The first value that is written makes the space.
      const std::array<hsize_t, 2> start{0, 0}, extent{1, 2};
      const std::array<std::uint32_t, 2> none{};
      const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + name + "'");
      const Handle memory(calls, H5Screate_simple(2, extent.data(), nullptr), H5Sclose, "make a dataspace");
      calls(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr),
            "select in '" + name + "'");
      calls(H5Dwrite(dataset, H5T_NATIVE_UINT32, memory, space, H5P_DEFAULT, none.data()),
            "make '" + name + "'");
    }
    if (!driver->add_table(k, place_of(calls, dataset, name), !exists))
      calls.fail("make '" + name + "'", std::strerror(errno));
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
