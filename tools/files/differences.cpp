#include "ness/files/differences.hpp"

#include <algorithm>
#include <map>

#include "ness/files/toml_table.hpp"

namespace ness {

std::string Difference::text() const {
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("nothing") : value; };
  return key + ": " + shown(then) + " then, " + shown(now) + " now";
}

std::vector<Difference> differences(const std::string& then, const std::string& now,
                                    const std::string& path) {
  std::map<std::string, Difference> all;
  for (auto& [key, value] : Document(then, path).values()) all[key] = {key, value, {}};
  for (auto& [key, value] : Document(now, path).values()) {
    Difference& one = all[key];
    one.key = key;
    one.now = value;
  }
  std::vector<Difference> found;
  for (auto& [key, one] : all) {
    if (one.then != one.now) found.push_back(std::move(one));
  }
  return found;
}

bool named(const std::string& key, std::span<const std::string> names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return key == name || (key.size() > name.size() && key.starts_with(name) && key[name.size()] == '.');
  });
}

}  // namespace ness
