// The keys of bench files, listed.
#pragma once

#include <span>

#include "ness/files/instrument_kind.hpp"
#include "ness/files/key_list.hpp"

namespace ness {

/// Every key of a bench file, as it is read, with default, unit, range and meaning.
KeyList bench_keys(std::span<const InstrumentKind> kinds = instrument_kinds());

}  // namespace ness
