// Tables of which `kind` decides which keys they have: [estimator], [optimizer], [optimizer.schedule],
// [loss], [task].
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ness/files/key_list.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

/// A kind, and the function that lists its keys.
struct KindKeys {
  std::string name;
  std::function<void(Keys&)> list;
};

/// What becomes of keys that the chosen kind does not read, but another one does.
struct OtherKinds {
  bool passed_over = false;              ///< all of them, each with a note (LoadOptions::other_kinds)
  std::vector<std::string> assignments;  ///< LoadOptions::set: where they set the kind, the file's keys of
                                         ///< its own kind go with that
  std::vector<std::string> compared;     ///< keys of these kinds stand in the file on purpose ([compare])
  std::vector<std::string> notes;        ///< what was passed over
};

/// Call when the chosen kind has read its keys. A key left over that another kind reads is passed over,
/// removed from the document, or refused with the names of the kinds that read it; Table::finish deals with
/// all others.
void keep_to_kind(Table& table, Document& document, const std::string& chosen,
                  const std::vector<KindKeys>& kinds, OtherKinds& others);

/// "optimizer.rate" of "optimizer.rate = 0.01".
std::string assigned_key(const std::string& assignment);

/// Reads `kind`, the name of a row; false where it is not given.
template <typename Rows, typename Row>
bool choose_row(Keys& keys, const Rows& rows, const Row*& row, const About& about) {
  std::vector<std::pair<std::string, const Row*>> named;
  for (const Row& one : rows) named.emplace_back(std::string(one.name), &one);
  return keys.choice<const Row*>("kind", row, named, about);
}

/// Lists the rows as kinds of a table, with the keys of each.
template <typename Rows>
void list_kinds(const KeyList& keys, const Rows& rows) {
  for (const auto& row : rows) {
    keys.kind({std::string(row.name), "", {{"meaning", std::string(row.meaning)}}}, row.read);
  }
}

/// The kinds of rows that have a name and list their keys in `read`.
template <typename Rows>
std::vector<KindKeys> kinds_of(const Rows& rows) {
  std::vector<KindKeys> kinds;
  for (const auto& row : rows)
    kinds.push_back({std::string(row.name), [read = row.read](Keys& keys) { read(keys); }});
  return kinds;
}

}  // namespace ness
