// The part of a log's header by which it stands alone: data sets, edges, where the experiment came from.
#pragma once

#include "hdf5.hpp"
#include "ness/record/log.hpp"

namespace ness::log_layout {

/// Writes /entry/data, /entry/device/edges and /entry/source, as far as the header has them. Rows and targets
/// that take more than `largest_copy` bytes are left out.
void write_run(hdf5::Calls& calls, hid_t entry, const LogHeader& header, std::uint64_t largest_copy);
/// Reads them, into a header whose pattern sets are read already. Throws LogError where one contradicts
/// another.
void read_run(hdf5::Calls& calls, hid_t entry, LogHeader& header);

}  // namespace ness::log_layout
