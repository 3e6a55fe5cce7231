// The keys of line elements, listed.
#pragma once

#include "ness/device/keys.hpp"

namespace ness {

/// The keys that read_line_elements reads.
void list_line_elements(Keys& keys);

}  // namespace ness
