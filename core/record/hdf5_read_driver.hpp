// The HDF5 driver for reading logs.
#pragma once

#include <hdf5.h>

namespace ness::hdf5 {

/// A read-only driver under which each opening of a file is separate. With HDF5's own driver, an opening
/// joins one that this process already has (of a writer or an earlier reader), and reads its cached, perhaps
/// outdated or unflushed state. What is read is compared with its check, where the file has them
/// (sector_checks.hpp): damaged bookkeeping is not handed to HDF5, and the call fails with the bytes that are
/// damaged. What a writer that died left in the journal is read as if it had been written. Negative if HDF5
/// refuses the driver.
hid_t read_driver();

}  // namespace ness::hdf5
