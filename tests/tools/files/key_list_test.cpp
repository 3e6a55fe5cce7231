#include "ness/files/key_list.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "ness/device/error.hpp"
#include "ness/files/bench_keys.hpp"
#include "ness/files/experiment.hpp"
#include "ness/files/key_names.hpp"

using namespace ness;

namespace {

using Names = std::set<std::string>;

const KeyTable& table_named(const KeyList& keys, const std::string& name) {
  for (const KeyTable& table : keys.tables()) {
    if (table.name == name) return table;
  }
  throw std::logic_error("the page has no table [" + name + "]");
}

/// Whether the page says of the row that this kind reads it.
bool is_of(const KeyRow& row, const std::string& kind) {
  return row.kinds.empty() || std::find(row.kinds.begin(), row.kinds.end(), kind) != row.kinds.end();
}

/// The keys, and the tables below it, that the page gives a table where it is of that kind.
Names on_page(const KeyList& keys, const std::string& name, const std::string& kind = "") {
  Names names;
  for (const KeyRow& row : table_named(keys, name).rows) {
    if (is_of(row, kind)) names.insert(row.key);
  }
  const std::string prefix = name.empty() ? "" : name + ".";
  for (const KeyTable& table : keys.tables()) {
    if (table.name.empty() || !table.name.starts_with(prefix)) continue;
    const std::string below = table.name.substr(prefix.size());
    names.insert(below.substr(0, below.find('.')));
  }
  return names;
}

/// An experiment file in parts; `lines` are the keys of [name] that have to be there.
std::string file_with(const std::string& name, const std::string& lines, const std::string& key) {
  const std::string unread = key + " = 1\n";
  const auto part = [&](const std::string& table, const std::string& keys) {
    return "[" + table + "]\n" + keys + (table == name ? lines + unread : "");
  };
  std::string text = name.empty() ? unread : "";
  text += part("network", "law = \"linear\"\nlayers = [2, 1]\n");
  for (const char* kind : {"G", "g", "mu_ref"}) text += "[parameters." + std::string(kind) + "]\nvalue = 1\n";
  text += part("task", name == "task" ? "" : "kind = \"xor\"\n");
  if (!name.empty() && name != "network" && name != "task") text += part(name, "");
  return text;
}

/// The keys that the reader of [name] asks for: its refusal of another key names them.
Names asked_for(const std::string& name, const std::string& lines) {
  std::string refusal;
  try {
    experiment_from_text(file_with(name, lines, "zzzzzzzz"), "every.toml");
  } catch (const FileError& error) {
    refusal = error.what();
  }
  INFO(refusal);
  const std::string before = "zzzzzzzz': unknown key; known here: ";
  const auto at = refusal.find(before);
  REQUIRE(at != std::string::npos);
  Names names;
  std::string list = refusal.substr(at + before.size()) + ", ";
  for (std::size_t end = list.find(", "); end != std::string::npos; end = list.find(", ")) {
    names.insert(list.substr(0, end));
    list.erase(0, end + 2);
  }
  return names;
}

EstimatorMaker read_one_more(Keys& keys) {
  double own = 1;
  keys.number("own", own, Number::positive, {"kT", "of this estimator alone"});
  return estimator_table().front().read(keys);
}

}  // namespace

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

TEST_CASE("kinds share the rows that they read in the same words, and the page says whose a key is") {
  const auto reader = [](double step, double own, const char* meaning) {
    return [=](Keys& keys) {
      double value = step, mine = own;
      std::uint64_t references = 0;
      keys.number("step", value, Number::positive, {"kT", "how far"});
      if (own > 0) keys.number("own", mine, Number::positive, {"", meaning});
      keys.whole("references", references, 0, {"", "how often", "0 where states | are restored, else 1"});
    };
  };
  KeyList top("");
  KeyList keys = top.table("estimator", "How it is measured");
  std::string kind = "a";
  keys.choice<std::string>("kind", kind, {{"a", "a"}, {"b", "b"}, {"c", "c"}, {"d", "d"}}, {"", "which"});
  keys.kind({"a", "", {{"meaning", "the first"}}}, [](Keys&) {});
  keys.kind({"b", "beta", {{"meaning", "the second"}}}, reader(1, 2, "the same"));
  keys.kind({"c", "", {{"meaning", "the third"}}}, reader(0.5, 2, "the same"));
  keys.kind({"d", "", {{"meaning", "the fourth"}}}, [&](Keys& own) {
    reader(1, 3, "another")(own);
    double deep = 4;
    own.inner("below", {"", "A table of a kind"})->number("deep", deep, Number::finite, {"", "how deep"});
  });
  require_meanings(top.tables());
  CHECK(page_of("Title", "Words.", top.tables()) == R"(# Title

Words.

## `[estimator]`

How it is measured.

| kind | also | meaning |
|---|---|---|
| `a` |  | the first |
| `b` | `beta` | the second |
| `c` |  | the third |
| `d` |  | the fourth |

| key | kinds | default | unit | range | meaning |
|---|---|---|---|---|---|
| `kind` | all | `"a"` |  | a kind of the list above | which |
| `step` | `b`, `d` | `1` | kT | > 0 | how far |
| `step` | `c` | `0.5` | kT | > 0 | how far |
| `own` | `b`, `c` | `2` |  | > 0 | the same |
| `own` | `d` | `3` |  | > 0 | another |
| `references` | all but `a` | 0 where states \| are restored, else 1 |  | whole, >= 0 | how often |

## `[estimator.below]`

A table of a kind.

| kind | meaning |
|---|---|
| `d` | the fourth |

| key | kinds | default | unit | range | meaning |
|---|---|---|---|---|---|
| `deep` | all | `4` |  |  | how deep |
)");
  keys.kind({"e", "", {{"meaning", ""}}}, [](Keys&) {});
  CHECK_THROWS_WITH(require_meanings(top.tables()), "[estimator] kind = 'e' has no meaning");
}

TEST_CASE("a key without a meaning is refused by name, and so are defaults that cannot be used") {
  KeyList top("");
  bool flag = false;
  top.inner("log", {"", ""})->flag("background", flag, {"", ""});
  CHECK_THROWS_WITH(require_meanings(top.tables()), "[log] background has no meaning");
  CHECK_THROWS_WITH(top.require("too small"), Catch::Contains("too small"));
}

TEST_CASE("every key of an experiment file has a meaning, and no kind of a table has a key twice") {
  const KeyList keys = experiment_keys();
  require_meanings(keys.tables());
  for (const KeyTable& table : keys.tables()) {
    std::vector<std::string> kinds{""};
    for (const KeyKind& kind : table.kinds) kinds.push_back(kind.name);
    for (const std::string& kind : kinds) {
      Names names;
      for (const KeyRow& row : table.rows) {
        if (!is_of(row, kind)) continue;
        INFO(table.name << " " << kind << " " << row.key);
        CHECK(names.insert(row.key).second);
      }
    }
  }
}

TEST_CASE("every key that an experiment file is asked for is on the page, and no other") {
  const KeyList keys = experiment_keys();
  for (const char* name : {"", "network", "network.nodes", "training", "noise", "drift", "budget", "device",
                           "solver", "solver.transient", "log", "evaluation", "compare", "twin"}) {
    INFO(name);
    CHECK(asked_for(name, "") == on_page(keys, name));
  }
  CHECK(asked_for("training.observe", "time = 1.0\n") == on_page(keys, "training.observe"));
  for (const char* name : {"task", "estimator", "optimizer", "optimizer.schedule"}) {
    for (const KeyKind& kind : table_named(keys, name).kinds) {
      INFO(name << " " << kind.name);
      CHECK(asked_for(name, "kind = \"" + kind.name + "\"\n") == on_page(keys, name, kind.name));
    }
  }
  // Its other kind is refused before its keys are looked at: the targets are no classes.
  CHECK(asked_for("loss", "kind = \"squared-error\"\n") == on_page(keys, "loss", "squared-error"));
  CHECK(on_page(keys, "loss", "cross-entropy") == Names{"kind", "scale"});
}

TEST_CASE("kinds of an experiment file are listed with the keys of their rows, and so are one's own") {
  std::vector<EstimatorEntry> rows(estimator_table().begin(), estimator_table().end());
  rows.push_back({.name = "one-more",
                  .alias = "one-more",
                  .needs = "nothing",
                  .cost = "1",
                  .source = "",
                  .read = read_one_more});
  KindTables tables;
  tables.estimators = rows;
  const KeyList keys = experiment_keys(tables);
  require_meanings(keys.tables());
  const KeyTable& estimator = table_named(keys, "estimator");
  REQUIRE(estimator.kinds.size() == rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Names names = key_names(rows[i].read);
    names.insert("kind");
    INFO(rows[i].name);
    CHECK(on_page(keys, "estimator", estimator.kinds[i].name) == names);
    CHECK((estimator.kinds[i].name == rows[i].name || estimator.kinds[i].name == rows[i].alias));
    for (const std::string_view name : {rows[i].name, rows[i].alias}) {
      CHECK(estimator.rows.front().range.find('"' + std::string(name) + '"') != std::string::npos);
    }
  }
  CHECK(on_page(keys, "estimator", "one-more") == Names{"kind", "own"});
}

TEST_CASE("the default of `references` depends on the device, and the page says so") {
  const KeyList keys = experiment_keys();
  std::size_t found = 0;
  for (const KeyRow& row : table_named(keys, "estimator").rows) {
    if (row.key != "references") continue;
    ++found;
    CHECK(row.standard.empty());
    CHECK(row.not_given.find("0 where the device restores states") != std::string::npos);
  }
  CHECK(found == 1);
}

TEST_CASE("every key of a bench file has a meaning, and the keys of all models are listed") {
  const KeyList keys = bench_keys();
  require_meanings(keys.tables());
  std::vector<std::string> names;
  for (const KeyTable& table : keys.tables()) {
    for (const KeyRow& row : table.rows) names.push_back(row.key);
  }
  for (const char* of_a_role : {"compliance", "high_input", "slew"})
    CHECK(std::count(names.begin(), names.end(), of_a_role) >= 1);
}
