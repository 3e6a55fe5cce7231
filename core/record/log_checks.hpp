// The checks of a log's sectors (sector_checks.hpp), as parts of the HDF5 file.
#pragma once

#include <functional>

#include "hdf5.hpp"
#include "sector_checks.hpp"

namespace ness::log_layout {

/// Makes the group /checks of a new file, and `header` all else that comes before the rows. Returns where the
/// parts of /checks are.
hdf5::CheckPlaces create_checks(hdf5::Calls& calls, hid_t file, const std::function<void()>& header);
/// Makes further tables of a file opened for writing, until they reach beyond position `end`; and says to its
/// driver where those are that exist.
void reach_beyond(hdf5::Calls& calls, hid_t file, std::uint64_t end);
/// Completes what a writer that died left in the journal. Throws LogError.
void complete_last_flush(int descriptor, const std::string& path);
/// Cuts the file at `end`.
void cut(int descriptor, const std::string& path, std::uint64_t end);

}  // namespace ness::log_layout
