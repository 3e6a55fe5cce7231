// Keys of a TOML file set in place: comments and layout stay.
#pragma once

#include <string>
#include <vector>

namespace ness {

/// One key to set: `table` by its parts ({"wiring", "read-2"}), `value` as TOML.
struct TomlEdit {
  std::vector<std::string> table;
  std::string key, value;
};

/// `text` with a key of a [table] set: its value replaced, what stands behind it kept, a comment where it was
/// if there is room; or a line added after the table's last; or the table added at the end. Throws FileError
/// where the table is written another way (inline, or with dotted keys): `path` names the file.
std::string with_key(const std::string& text, const TomlEdit& edit, const std::string& path);

/// Sets keys in a file, all or none: the new text is written beside it, is on disk, then takes its place; a
/// symbolic link stays one. Throws FileError, and leaves the file as it was.
void edit_file(const std::string& path, const std::vector<TomlEdit>& edits);

}  // namespace ness
