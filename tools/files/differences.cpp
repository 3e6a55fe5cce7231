#include "ness/files/differences.hpp"

#include <algorithm>

#include "ness/files/toml_table.hpp"

namespace ness {

std::string Difference::text() const {
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("nothing") : value; };
  return key + (where.empty() ? "" : " (" + where + ")") + ": " + shown(then) + " then, " + shown(now) +
         " now";
}

std::vector<Difference> differences(const Values& then, const Values& now) {
  std::map<std::string, Difference> all;
  for (const auto& [key, value] : then) all[key] = {key, value, {}, {}};
  for (const auto& [key, value] : now) {
    all[key].key = key;
    all[key].now = value;
  }
  std::vector<Difference> found;
  for (auto& [key, one] : all) {
    if (one.then != one.now) found.push_back(std::move(one));
  }
  return found;
}

std::vector<Difference> differences(const std::string& then, const std::string& now,
                                    const std::string& path) {
  return differences(Document(then, path).values(), Document(now, path).values());
}

bool named(const std::string& key, std::span<const std::string> names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return key == name || (key.size() > name.size() && key.starts_with(name) && key[name.size()] == '.');
  });
}

}  // namespace ness
