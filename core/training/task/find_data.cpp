#include "ness/training/find_data.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "ness/device/error.hpp"

namespace ness {

std::string find_data(const std::string& name, const std::string& given) {
  std::vector<std::string> roots;
  if (!given.empty()) {
    roots = {given};
  } else {
    const char* environment = std::getenv("NESS_DATA");
    if (environment && *environment) roots.emplace_back(environment);
    roots.insert(roots.end(), {"./data", "../shared/data"});
  }
  std::string looked;
  for (const std::string& root : roots) {
    const std::filesystem::path place = std::filesystem::path(root) / name;
    std::error_code ignored;
    if (std::filesystem::is_directory(place, ignored)) return place.string();
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  throw FileError("no directory '" + name + "' with data; looked at " + looked +
                  (given.empty() ? " (name another root with --data or NESS_DATA)" : " (the root given)"));
}

}  // namespace ness
