// Strict reading of TOML: values read, errors, and their positions.
#include "ness/files/toml_table.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"

using namespace ness;

namespace {

/// The message of the FileError that `action` throws.
template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const FileError& error) {
    return error.what();
  }
  return "nothing was refused";
}

Table table_of(const std::string& text, const std::string& name) {
  return *Document(text, "file.toml").root().table(name);
}

}  // namespace

TEST_CASE("values are read where they are, and left alone where they are not") {
  Table t =
      table_of("[a]\nx = 2\ny = 0.5\nflag = true\nword = \"two\"\npair = [1, 2.5]\nmany = [3, 4]\n", "a");
  double x = 0, y = 0, absent = 7;
  bool flag = false;
  std::string word;
  std::pair<double, double> pair;
  std::vector<std::uint32_t> many;
  REQUIRE(t.number("x", x, Number::finite, {}));
  REQUIRE(t.number("y", y, Number::finite, {}));
  REQUIRE_FALSE(t.number("absent", absent, Number::finite, {}));
  REQUIRE(t.flag("flag", flag, {}));
  REQUIRE(t.text("word", word, {}));
  REQUIRE(t.pair("pair", pair, {}));
  REQUIRE(t.wholes("many", many, {}));
  CHECK(x == 2);
  CHECK(y == 0.5);
  CHECK(absent == 7);
  CHECK(flag);
  CHECK(word == "two");
  CHECK(pair == std::pair<double, double>(1, 2.5));
  CHECK(many == std::vector<std::uint32_t>{3, 4});
  CHECK_NOTHROW(t.finish());
}

TEST_CASE("a wrong value is refused with file, line, key, what was expected and what was found") {
  const std::string text = "[a]\nx = nan\n\ny = -1\nz = \"1\"\nw = 1.5\np = [1]\nq = [1, inf]\nk = \"adm\"\n";
  double number = 0;
  std::uint64_t whole = 0;
  std::pair<double, double> pair;
  int chosen = 0;
  CHECK(refusal([&] { table_of(text, "a").number("x", number, Number::finite, {}); }) ==
        "file.toml:2: key 'a.x': expected a finite number, found nan");
  CHECK(refusal([&] { table_of(text, "a").number("y", number, Number::positive, {}); }) ==
        "file.toml:4: key 'a.y': expected a number > 0, found -1");
  CHECK(refusal([&] { table_of(text, "a").number("z", number, Number::finite, {}); }) ==
        "file.toml:5: key 'a.z': expected a finite number, found the string \"1\"");
  CHECK(refusal([&] { table_of(text, "a").whole("w", whole, 0, {}); }) ==
        "file.toml:6: key 'a.w': expected a whole number >= 0, found 1.5");
  CHECK(refusal([&] { table_of(text, "a").whole("y", whole, 0, {}); }) ==
        "file.toml:4: key 'a.y': expected a whole number >= 0, found -1");
  CHECK(refusal([&] { table_of(text, "a").pair("p", pair, {}); }) ==
        "file.toml:7: key 'a.p': expected two numbers, [x, y], found an array of 1 value");
  CHECK(refusal([&] { table_of(text, "a").pair("q", pair, {}); }) ==
        "file.toml:8: key 'a.q': expected two finite numbers, found inf among them");
  CHECK(refusal([&] {
          table_of(text, "a").choice<int>("k", chosen, {{"adam", 1}, {"sgd", 2}}, {});
        }) == "file.toml:9: key 'a.k': expected 'adam' or 'sgd', found the string \"adm\"");
  CHECK(refusal([&] { table_of("a = 3", "a"); }) == "file.toml:1: key 'a': expected a table [a], found 3");
}

TEST_CASE("infinity is a number only where it has a meaning") {
  const std::string text = "[a]\nx = inf\ny = -inf\nz = nan\n";
  double value = 0;
  REQUIRE(table_of(text, "a").number("x", value, Number::or_infinite, {}));
  CHECK(std::isinf(value));
  for (const char* key : {"y", "z"}) {
    INFO(key);
    CHECK(refusal([&] {
            table_of(text, "a").number(key, value, Number::or_infinite, {});
          }).find("expected a number > 0, or inf") != std::string::npos);
  }
  CHECK(refusal([&] {
          table_of(text, "a").number("x", value, Number::not_negative, {});
        }).find("found inf") != std::string::npos);
}

TEST_CASE("a key nobody asked for is an error that names the nearest one") {
  Table t = table_of("[a]\nrate = 1\nepocs = 3\n", "a");
  double number = 0;
  std::uint64_t whole = 0;
  t.number("rate", number, Number::finite, {});
  t.whole("epochs", whole, 0, {});
  CHECK(refusal([&] { t.finish(); }) == "file.toml:3: key 'a.epocs': unknown key; did you mean 'epochs'?");
}

TEST_CASE("what is no TOML is refused with its line") {
  const std::string message = refusal([] { Document("title = \"x\"\nseed = = 3\n", "file.toml"); });
  CHECK(message.starts_with("file.toml:2: no TOML: "));
}

TEST_CASE("set on the command line changes keys, makes tables, and is named where its value is wrong") {
  Document document("seed = 1\n[a]\nx = 1\n", "file.toml");
  document.set("a.x=2.5");
  document.set("b.layer-2.word = last");
  document.set("a.list=[1, 2]");
  Table root = document.root();
  Table a = *root.table("a");
  double x = 0;
  a.number("x", x, Number::finite, {});
  CHECK(x == 2.5);
  std::pair<double, double> list;
  a.pair("list", list, {});
  CHECK(list.second == 2);
  std::string word;
  root.table("b")->table("layer-2")->text("word", word, {});
  CHECK(word == "last");

  document.set("a.x=nan");
  CHECK(refusal([&] { document.root().table("a")->number("x", x, Number::finite, {}); }) ==
        "--set a.x=nan: key 'a.x': expected a finite number, found nan");
  document.set("c.y=1");
  CHECK(refusal([&] { document.root().finish(); }).find("key 'a'") != std::string::npos);
  CHECK(refusal([&] {
          document.root().table("c")->finish();
        }).starts_with("--set c.y=1: key 'c.y': unknown key"));
  CHECK(refusal([&] { document.set("seed.x=1"); }).find("a part of it is a value") != std::string::npos);
  CHECK(refusal([&] { document.set("novalue"); }).find("expected key=value") != std::string::npos);
  CHECK(refusal([&] { document.set("=1"); }).find("expected key=value") != std::string::npos);
}

TEST_CASE("a document written anew reads back to the same bits") {
  const std::string text =
      "x = 0.1\ny = 1e-300\nz = 123456789.123456789\nn = -7\nword = \"a \\\"quote\\\" and \\\\ and "
      "\\u0001\"\n"
      "lines = '''\n{\"nodes\": [\n  1]}\n'''\ninfinite = inf\nlist = [0.3, 1e22]\n\n[b.layer-2]\nt = true\n";
  Document document(text, "file.toml");
  CHECK(document.text() == text);  // nothing was set: unchanged, including comments
  document.set("added=0.30000000000000004");
  const Document again(document.text(), "again.toml");
  Table before = document.root(), after = again.root();
  for (const char* key : {"x", "y", "z", "n", "added"}) {
    double a = 0, b = 1;
    REQUIRE(before.number(key, a, Number::finite, {}));
    REQUIRE(after.number(key, b, Number::finite, {}));
    CHECK(a == b);
  }
  for (const char* key : {"word", "lines"}) {
    std::string a = "a", b = "b";
    REQUIRE(before.text(key, a, {}));
    REQUIRE(after.text(key, b, {}));
    CHECK(a == b);
  }
  double infinite = 0;
  REQUIRE(after.number("infinite", infinite, Number::or_infinite, {}));
  CHECK(std::isinf(infinite));
  std::pair<double, double> list;
  REQUIRE(after.pair("list", list, {}));
  CHECK(list == std::pair<double, double>(0.3, 1e22));
  bool flag = false;
  REQUIRE(after.table("b")->table("layer-2")->flag("t", flag, {}));
  CHECK(flag);
}

TEST_CASE("the nearest name is near") {
  const std::vector<std::string> known{"rate", "momentum", "kind"};
  CHECK(nearest_name("rte", known) == "rate");
  CHECK(nearest_name("momemtum", known) == "momentum");
  CHECK(nearest_name("schedule", known).empty());
  CHECK(nearest_name("c", {"a", "b"}).empty());
  CHECK(suggestion("schedule", known) == "known here: rate, momentum, kind");
  CHECK(one_of({"a"}) == "'a'");
  CHECK(one_of({"a", "b", "c"}) == "'a', 'b' or 'c'");
}

TEST_CASE("a table is a Keys") {
  Table table =
      table_of("[a]\nx = 2\nn = 4\nword = \"two\"\nflag = true\npair = [1, 2]\n[a.b]\ny = 3\n", "a");
  Keys& keys = table;
  double x = 0, y = 0, absent = 7;
  std::uint32_t n = 1;
  bool flag = false;
  int chosen = 0;
  std::pair<double, double> pair;
  CHECK(keys.number("x", x, Number::positive, {"kT", "a number"}));
  CHECK_FALSE(keys.number("absent", absent, Number::positive, {}));
  CHECK(keys.whole("n", n, 1, {}));
  CHECK(keys.flag("flag", flag, {}));
  CHECK(keys.pair("pair", pair, {}));
  CHECK(keys.choice<int>("word", chosen, {{"one", 1}, {"two", 2}}, {}));
  CHECK_FALSE(keys.inner("c", {}));
  const std::shared_ptr<Keys> inner = keys.inner("b", {});
  REQUIRE(inner);
  CHECK(inner->number("y", y, Number::finite, {}));
  CHECK(std::vector<double>{x, y, absent, double(n), double(chosen), pair.second} ==
        std::vector<double>{2, 3, 7, 4, 2, 2});
  CHECK(flag);
  CHECK_NOTHROW(table.finish());
  CHECK(refusal([&] { keys.number("word", x, Number::finite, {}); }) ==
        "file.toml:4: key 'a.word': expected a finite number, found the string \"two\"");
}
