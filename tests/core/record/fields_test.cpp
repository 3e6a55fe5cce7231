// The fields of a row: one list for the writer, the reader and the comparison.
#include <algorithm>
#include <set>

#include "core/record/log_fixture.hpp"
#include "relaxation_fields.hpp"

using namespace log_test;
using namespace ness::log_layout;

namespace {

/// The names of the fields, in order.
struct Names {
  std::vector<std::string> all, compared;
  std::vector<std::uint64_t> since;
  template <class Give, class Place>
  void field(const FieldText& text, const Give&, const Place&, Value<Give> = {}) {
    note(text);
  }
  template <class Give, class Place>
  void list(const FieldText& text, const Give&, const Place&) {
    note(text);
  }
  template <class Give, class Place>
  void readings(const FieldText& text, const Give&, const Place&, std::uint64_t) {
    note(text);
  }
  void note(const FieldText& text) {
    all.emplace_back(text.name);
    since.push_back(text.since);
    CHECK(std::string(text.meaning).size() > 3);
    CHECK_FALSE(text.unit.empty());
    if (*text.compared != 0) compared.emplace_back(text.compared);
  }
};

}  // namespace

TEST_CASE("every field of a row has a name of its own, a unit and a meaning", "[log]") {
  const Layout layout = layout_of(small_info(), false, 10);
  Names names;
  each_field(names, layout);
  CHECK(std::set<std::string>(names.all.begin(), names.all.end()).size() == names.all.size());
  CHECK(std::set<std::string>(names.compared.begin(), names.compared.end()).size() == names.compared.size());
}

TEST_CASE(
    "a log begun in an older format holds what it has columns for, and refuses the rest before anything is "
    "written",
    "[log]") {
  Layout layout = layout_of(small_info(), false, 10);
  const Relaxation relaxation = relaxation_of(0);
  Drive drive = drive_of(0, small_set());
  drive.observe = At{2, 3};
  CHECK_NOTHROW(check_fits(layout, {drive, relaxation}));
  layout.version = 3;
  CHECK_NOTHROW(check_fits(layout, {drive, relaxation}));
  drive.observe = At{2, 3, 0.5};
  const std::string message = message_of<std::invalid_argument>([&] {
    check_fits(layout, {drive, relaxation});
  });
  CHECK_THAT(message, Catch::Contains("format 3") && Catch::Contains("observe_every"));
  // A field introduced by a later format is not in the columns of earlier formats.
  Names names;
  each_field(names, layout);
  CHECK(std::count_if(names.since.begin(), names.since.end(),
                      [](std::uint64_t since) { return since == 4; }) == 4);
}
