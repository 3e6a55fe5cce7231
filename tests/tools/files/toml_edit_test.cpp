#include "ness/files/toml_edit.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

#include "ness/device/error.hpp"
#include "ness/files/text_file.hpp"

using namespace ness;

namespace {

std::string set(const std::string& text, const std::vector<std::string>& table, const std::string& key,
                const std::string& value) {
  return with_key(text, {table, key, value}, "bench.toml");
}

}  // namespace

TEST_CASE("a key is set in place, and all else stays") {
  const std::string text =
      "# first\n"
      "title = \"[settle] is no header\"   # tau_max = 7\n"
      "\n"
      "[settle]  # how\n"
      "tolerance = 0.002         # kT\n"
      "  tau_max = 2e-4 # s: 40 kohm x 1 nF\n"
      "\n"
      "# of the wires\n"
      "[wiring.read-2]\n"
      "node = 2\n";
  CHECK(set(text, {"settle"}, "tolerance", "0.1") ==
        "# first\ntitle = \"[settle] is no header\"   # tau_max = 7\n\n[settle]  # how\ntolerance = 0.1      "
        "     # kT\n  tau_max = 2e-4 # s: 40 kohm x 1 nF\n\n# of the wires\n[wiring.read-2]\nnode = 2\n");
  // No room: the comment moves.
  CHECK(set(text, {"settle"}, "tau_max", "0.00123") ==
        "# first\ntitle = \"[settle] is no header\"   # tau_max = 7\n\n[settle]  # how\ntolerance = 0.002    "
        "     # kT\n  tau_max = 0.00123 # s: 40 kohm x 1 nF\n\n# of the wires\n[wiring.read-2]\nnode = 2\n");
  // A new key: after the last key of the table, before comments of the next table.
  CHECK(set(text, {"settle"}, "noise", "1e-5") ==
        "# first\ntitle = \"[settle] is no header\"   # tau_max = 7\n\n[settle]  # how\ntolerance = 0.002    "
        "     # kT\n  tau_max = 2e-4 # s: 40 kohm x 1 nF\nnoise = 1e-5\n\n# of the "
        "wires\n[wiring.read-2]\nnode = 2\n");
  CHECK(set(text, {"wiring", "read-2"}, "volts", "1.0") == text + "volts = 1.0\n");
  CHECK(set(text, {"check"}, "seed", "1") == text + "\n[check]\nseed = 1\n");
  CHECK(set("[a]", {"a"}, "b", "1") == "[a]\nb = 1\n");
  CHECK(set("[a]\nx = 1", {"a"}, "b", "1") == "[a]\nx = 1\nb = 1\n");
  CHECK(set("", {"a"}, "b", "1") == "[a]\nb = 1\n");
}

TEST_CASE("what looks like a header or a key inside a value is none") {
  const std::string text =
      "[a]\nx = \"\"\"\n[settle]\ntau_max = 1 # \\\"\"\"\"\ny = [ # one\n  \"]\", '[settle]',\n  { tau_max = "
      "3 } ]\nz = 'C:\\'\n[ \"settle\" ]\r\n\"tau_max\" = [1,\n 2] # two\n";
  CHECK(set(text, {"settle"}, "tau_max", "5.0") ==
        "[a]\nx = \"\"\"\n[settle]\ntau_max = 1 # \\\"\"\"\"\ny = [ # one\n  \"]\", '[settle]',\n  { tau_max "
        "= 3 } ]\nz = 'C:\\'\n[ \"settle\" ]\r\n\"tau_max\" = 5.0 # two\n");
  CHECK(set("[a]\r\nx = 1\r\n", {"a"}, "y", "2") == "[a]\r\nx = 1\r\ny = 2\r\n");
  CHECK(set("[[wiring]]\nread = 1\n", {"other"}, "y", "2") == "[[wiring]]\nread = 1\n\n[other]\ny = 2\n");
}

TEST_CASE("a table written another way is refused, not doubled") {
  for (const std::string text : {"settle.tau_max = 1\n", "settle = { tau_max = 1 }\n",
                                 "[wiring]\nread.node = 2\n", "[wiring]\nread = { node = 2 }\n"}) {
    INFO(text);
    const bool wiring = text.starts_with("[wiring]");
    CHECK_THROWS_AS(
        set(text, wiring ? std::vector<std::string>{"wiring", "read"} : std::vector<std::string>{"settle"},
            "tau_max", "2"),
        FileError);
  }
}

TEST_CASE("a file is edited whole or not at all, keeps its mode, and a link stays a link") {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-edit-XXXXXX").string();
  const std::filesystem::path scratch = ::mkdtemp(pattern.data());
  const auto file = scratch / "bench.toml", link = scratch / "link.toml";
  std::ofstream(file) << "[a]\nx = 1 # one\n";
  ::chmod(file.c_str(), 0640);
  std::filesystem::create_symlink("bench.toml", link);
  edit_file(link.string(), {{{"a"}, "x", "2"}, {{"b"}, "y", "3.5"}});
  CHECK(text_of_file(file.string(), "") == "[a]\nx = 2 # one\n\n[b]\ny = 3.5\n");
  CHECK(std::filesystem::is_symlink(link));
  CHECK((std::filesystem::status(file).permissions() & std::filesystem::perms::mask) ==
        static_cast<std::filesystem::perms>(0640));
  // The second edit is impossible, so the first is not made either. The same if the file would not be TOML
  // afterwards.
  std::ofstream(file) << "b = { y = 1 }\n[a]\nx = 1\n";
  CHECK_THROWS_AS(edit_file(file.string(), {{{"a"}, "x", "2"}, {{"b"}, "y", "3"}}), FileError);
  CHECK_THROWS_AS(edit_file(file.string(), {{{"a"}, "x", "2 3"}}), FileError);
  CHECK(text_of_file(file.string(), "") == "b = { y = 1 }\n[a]\nx = 1\n");
  CHECK(std::distance(std::filesystem::directory_iterator(scratch), {}) == 2);
  std::filesystem::remove_all(scratch);
}
