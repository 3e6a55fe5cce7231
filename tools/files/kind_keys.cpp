#include "kind_keys.hpp"

#include <algorithm>
#include <set>

#include "ness/files/key_names.hpp"

namespace ness {

namespace {

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

}  // namespace

std::string assigned_key(const std::string& assignment) {
  return assignment.substr(0, assignment.find_first_of(" ="));
}

void keep_to_kind(Table& table, Document& document, const std::string& chosen,
                  const std::vector<KindKeys>& kinds, OtherKinds& others) {
  std::vector<std::pair<std::string, std::set<std::string>>> names;
  for (const KindKeys& kind : kinds) names.emplace_back(kind.name, key_names(kind.list));
  const auto assigned = [&](const std::string& key) {
    return std::any_of(
        others.assignments.begin(), others.assignments.end(),
        [&](const std::string& assignment) { return assigned_key(assignment) == table.dotted(key); });
  };
  for (const std::string& key : table.keys()) {
    std::vector<std::string> readers;
    for (const auto& [kind, keys] : names) {
      if (keys.count(key)) readers.push_back(kind);
    }
    if (readers.empty()) continue;
    const bool compared = std::any_of(readers.begin(), readers.end(), [&](const std::string& kind) {
      return std::find(others.compared.begin(), others.compared.end(), kind) != others.compared.end();
    });
    if (compared) {
      table.pass_over(key);
    } else if (others.passed_over) {
      table.pass_over(key);
      others.notes.push_back("key '" + table.dotted(key) + "' is passed over: kind = '" + chosen +
                             "' does not read it");
    } else if (assigned("kind") && !assigned(key)) {
      document.erase(table.dotted(key));
    } else {
      table.fail(key, "kind = '" + chosen + "' does not read it; kinds that do: " + quoted_list(readers));
    }
  }
}

}  // namespace ness
