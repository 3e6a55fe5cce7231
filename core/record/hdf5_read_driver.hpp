// The driver under which logs are read.
#pragma once

#include <hdf5.h>

namespace ness::hdf5 {

/// A driver that only reads, and under which no two openings of a file are one. With HDF5's own, a file that this process has
/// open already (by a writer, by an earlier reader) is joined: its cached, perhaps outdated or unflushed state is what is read.
/// Negative if HDF5 refuses it.
hid_t read_driver();

}  // namespace ness::hdf5
