// The table of subcommands: what a row provides, and how a command line is parsed.
#include <catch2/catch.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "subcommands.hpp"

namespace ness {

void declare_toy(Options& line, const Command& command);

namespace {

std::vector<Subcommand> with_toy() {
  std::vector<Subcommand> table(subcommands().begin(), subcommands().end());
  table.push_back({"toy", "greets", declare_toy});
  return table;
}

std::vector<const char*> words_of(const std::vector<std::string>& words) {
  std::vector<const char*> pointers{"ness"};
  for (const std::string& word : words) pointers.push_back(word.c_str());
  return pointers;
}

int run(const std::vector<std::string>& words) {
  const std::vector<const char*> pointers = words_of(words);
  return run_command(with_toy(), static_cast<int>(pointers.size()), pointers.data());
}

CommandLine::Parsed parsed(const std::vector<Subcommand>& table, const std::vector<std::string>& words) {
  static const Command command{{}, [](bool) {}, [] {}, "ness"};
  CommandLine line("ness", "about", "ness 1.2.3", "footer");
  std::vector<Options> options;
  options.reserve(table.size());
  for (const Subcommand& row : table)
    row.declare(options.emplace_back(line.subcommand(row.name, row.summary)), command);
  const std::vector<const char*> pointers = words_of(words);
  return line.parse(static_cast<int>(pointers.size()), pointers.data());
}

std::string mistake(const std::vector<std::string>& words) {
  return std::get<CommandLine::Mistake>(parsed(with_toy(), words)).message;
}

}  // namespace

TEST_CASE("A subcommand is its file and a row of the table", "[subcommands]") {
  CHECK(run({"toy", "world"}) == ExitCode::success);
  CHECK(run({"toy", "world", "--exit-code", "7"}) == 7);
  CHECK(run({"toy"}) == ExitCode::misuse);
  const std::string help = std::get<CommandLine::Nothing>(parsed(with_toy(), {})).help;
  CHECK(help.find("  toy                             greets\n") != std::string::npos);
  CHECK(mistake({"toi"}) == "unknown subcommand 'toi'; did you mean 'toy'? (ness --help)");
  CHECK(mistake({"toy", "world", "--exit-kode=3"}) ==
        "unknown option '--exit-kode'; did you mean '--exit-code'? (ness toy --help)");
  CHECK(mistake({"toy"}) == "WHO is required (ness toy --help)");
  // Without the row there is no toy.
  const std::vector<Subcommand> plain(subcommands().begin(), subcommands().end());
  CHECK(std::holds_alternative<CommandLine::Mistake>(parsed(plain, {"toy", "world"})));
}

TEST_CASE("Every row has a name of its own and a summary", "[subcommands]") {
  const std::span<const Subcommand> table = subcommands();
  REQUIRE(table.size() >= 16);
  for (std::size_t i = 0; i < table.size(); ++i) {
    CHECK(!std::string(table[i].summary).empty());
    for (std::size_t j = 0; j < i; ++j) CHECK(std::string(table[i].name) != table[j].name);
  }
}

namespace {

enum class Colour : std::uint8_t { red, green };
struct Line {
  std::optional<double> rate;
  std::vector<double> levels;
  std::vector<std::string> set;
  Colour colour = Colour::red;
  bool check = true;
  std::string lacks;
};

/// Parses the line of a subcommand with every kind of option; throws its error.
Line read(const std::vector<std::string>& words) {
  Line read;
  CommandLine line("ness", "about", "ness 1.2.3", "footer");
  Options options = line.subcommand("paint", "paints");
  const Option rate = options.add("--rate", read.rate, "rate").positive();
  options.add("--levels", read.levels, "levels").comma_separated().one_at_a_time().excludes(rate);
  options.add("--set", read.set, "keys").one_at_a_time();
  options.choice("--colour", read.colour, {{"red", Colour::red}, {"green", Colour::green}}, "colour");
  options.flag("!--no-check", read.check, "unchecked");
  std::string picture;
  options.add("PICTURE", picture, "by place");
  options.demand([&] { return read.lacks; });
  options.action([] { return 3; });
  std::vector<const char*> pointers = words_of(words);
  pointers.insert(pointers.begin() + 1, "paint");
  if (!words.empty() && words.back() == "lacking") {
    read.lacks = "a brush";
    pointers.pop_back();
  }
  const CommandLine::Parsed parsed = line.parse(static_cast<int>(pointers.size()), pointers.data());
  if (const auto* mistake = std::get_if<CommandLine::Mistake>(&parsed))
    throw std::invalid_argument(mistake->message);
  CHECK(std::get<Options::Action>(parsed)() == 3);
  return read;
}

}  // namespace

TEST_CASE("Options of every kind are read, and refused with the reason", "[subcommands]") {
  CHECK_FALSE(read({}).rate.has_value());
  CHECK(read({"--rate", "0.25"}).rate == 0.25);
  CHECK(read({"--levels", "1,2.5", "--levels=3"}).levels == std::vector<double>{1, 2.5, 3});
  CHECK(read({"--set", "a=1", "--set", "b=2"}).set == std::vector<std::string>{"a=1", "b=2"});
  CHECK(read({"--colour", "green"}).colour == Colour::green);
  CHECK_FALSE(read({"--no-check"}).check);
  CHECK_THROWS_WITH(read({"--colour", "gren"}),
                    "--colour: there is no 'gren'; did you mean 'green'? (ness paint --help)");
  CHECK_THROWS_WITH(read({"--colour", "violet"}),
                    "--colour: there is no 'violet'; known here: red, green (ness paint --help)");
  CHECK_THROWS_WITH(read({"--rate", "1", "--levels", "2"}), "--rate excludes --levels (ness paint --help)");
  CHECK_THROWS_WITH(read({"--rate", "-1"}), Catch::Contains("--rate: "));
  // What is given by place is no option.
  CHECK_THROWS_WITH(read({"--whatever"}),
                    "unknown option '--whatever'; known here: --help, --rate, --levels, "
                    "--set, --colour, --no-check (ness paint --help)");
  CHECK_THROWS_WITH(read({"lacking"}), "a brush is required (ness paint --help)");
}

}  // namespace ness
