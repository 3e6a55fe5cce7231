// The names of the keys that a function lists.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "ness/device/keys.hpp"

namespace ness {

/// What `list` asks for where nothing is given, without the keys of inner tables.
std::set<std::string> key_names(const std::function<void(Keys&)>& list);

}  // namespace ness
