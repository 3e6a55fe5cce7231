#include "ness/files/key_list.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "ness/files/bench_keys.hpp"
#include "ness/files/experiment.hpp"

using namespace ness;

TEST_CASE("a list of keys has a row a key, with default, unit, range and meaning") {
  KeyList top("All of it");
  double rate = 0.01, none = std::nan("");
  std::uint64_t count = 3;
  std::pair<double, double> ends{-3, 0.5};
  std::string ending = "\n";
  bool central = true;
  CHECK_FALSE(top.number("rate", rate, Number::positive, {"1/s", "how fast"}));
  CHECK_FALSE(top.number("none", none, Number::or_infinite, {"", "nothing | unless given"}));
  CHECK_FALSE(top.whole("count", count, 1, {"", "how many"}));
  CHECK_FALSE(top.whole("few", count, 0, 10, {"", "at most ten"}));
  CHECK_FALSE(top.pair("ends", ends, {"kT", "from where to where"}));
  CHECK_FALSE(top.text("ending", ending, {"", "of a line"}));
  const auto inner = top.inner("schedule", {"", "How it changes"});
  REQUIRE(inner);
  CHECK_FALSE(inner->choice<bool>("kind", central, {{"central", true}, {"forward", false}}, {"", "which"}));
  CHECK(rate == 0.01);
  CHECK(central);
  CHECK(page_of("Title", "Words.", top.tables()) == R"(# Title

Words.

## Top of the file

All of it.

| key | default | unit | range | meaning |
|---|---|---|---|---|
| `rate` | `0.01` | 1/s | > 0 | how fast |
| `none` |  |  | > 0, or inf | nothing \| unless given |
| `count` | `3` |  | whole, >= 1 | how many |
| `few` | `3` |  | whole, 0 to 10 | at most ten |
| `ends` | `[-3, 0.5]` | kT | two numbers | from where to where |
| `ending` | `"\n"` |  | text | of a line |

## `[schedule]`

How it changes.

| key | default | unit | range | meaning |
|---|---|---|---|---|
| `kind` | `"central"` |  | "central", "forward" | which |
)");
  require_meanings(top.tables());
}

TEST_CASE("a key without a meaning is refused by name, and so are defaults that cannot be used") {
  KeyList top("");
  bool flag = false;
  top.inner("log", {"", ""})->flag("background", flag, {"", ""});
  CHECK_THROWS_WITH(require_meanings(top.tables()), "[log] background has no meaning");
  CHECK_THROWS_WITH(top.require("too small"), Catch::Contains("too small"));
}

TEST_CASE("every key of an experiment file has a meaning, and no table has a key twice") {
  const KeyList keys = experiment_keys();
  require_meanings(keys.tables());
  for (const KeyTable& table : keys.tables()) {
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      for (std::size_t k = 0; k < i; ++k) {
        INFO(table.name);
        CHECK(table.rows[i].key != table.rows[k].key);
      }
    }
  }
}

TEST_CASE("every key of a bench file has a meaning, and the keys of all models are listed") {
  const KeyList keys = bench_keys();
  require_meanings(keys.tables());
  std::vector<std::string> names;
  for (const KeyTable& table : keys.tables()) {
    for (const KeyRow& row : table.rows) names.push_back(row.key);
  }
  for (const char* of_a_role : {"compliance", "high_input", "slew"}) CHECK(std::count(names.begin(), names.end(), of_a_role) >= 1);
}
