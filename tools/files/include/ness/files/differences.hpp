// What differs between two files of keys.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

namespace ness {

/// A key that two files do not agree on.
struct Difference {
  std::string key;           ///< "wiring.in-0.limits"
  std::string then, now;     ///< the values, as TOML; empty: the key is not there
  std::string where = {};    ///< of one value of many: "points.csv:17, column 'y'"
  std::string text() const;  ///< "wiring.in-0.limits: [-1.0, 1.0] then, [-2.0, 2.0] now"
};

using Values = std::map<std::string, std::string>;

/// The keys whose values differ, or that one side lacks, in the order of their names.
std::vector<Difference> differences(const Values& then, const Values& now);
/// The keys on which two texts of TOML differ, in the order of their names; comments, order and layout do not
/// count. Throws FileError, naming the path, where one is no TOML.
std::vector<Difference> differences(const std::string& then, const std::string& now, const std::string& path);

/// The same for experiments as logs hold them. A network file's text, which is one value of theirs
/// ("network.json"), is compared number by number: "network.json.edges.3.a"; of many that differ the first is
/// named, and their number.
std::vector<Difference> experiment_differences(const std::string& then, const std::string& now,
                                               const std::string& path);

/// Whether a key was named: itself, or a table that holds it.
bool named(const std::string& key, std::span<const std::string> names);

}  // namespace ness
