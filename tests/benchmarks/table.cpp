#include "benchmarks/table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "ness/network/vector_target.hpp"

namespace benchmarks {

double effort = 1;
std::string folder = ".";

double median(std::vector<double> of) {
  std::nth_element(of.begin(), of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2), of.end());
  return of[of.size() / 2];
}

namespace {
struct Entry {
  std::string section;
  Row row;
  std::string skipped;
};

std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}

void keep(Entry entry) {
  for (Entry& there : entries()) {
    if (there.section != entry.section || there.row.what != entry.row.what) continue;
    there = std::move(entry);
    return;
  }
  entries().push_back(std::move(entry));
}

std::string number(double x) {
  if (std::isnan(x)) return "";
  char text[32];
  if (std::abs(x) >= 1e5) {
    std::snprintf(text, sizeof text, "%.3g", x);
  } else {
    const int before = x == 0 ? 1 : static_cast<int>(std::floor(std::log10(std::abs(x)))) + 1;
    std::snprintf(text, sizeof text, "%.*f", std::clamp(3 - before, 0, 6), x);
  }
  return text;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, text.size()), ' ');
  return right ? space + text : text + space;
}
}  // namespace

void put(benchmark::State& state, const std::string& section, const Row& row) {
  state.counters[row.what + " [" + row.unit + "]"] = row.figure;
  if (!std::isnan(row.ratio)) state.counters[row.what + " / " + row.of] = row.ratio;
  keep({section, row, {}});
}

void skip(benchmark::State& state, const std::string& section, const std::string& what,
          const std::string& why) {
  Row row;
  row.what = what;
  keep({section, row, why});
  state.SkipWithError(why.c_str());
}

bool Table::ReportContext(const Context&) { return true; }

void Table::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs)
    std::cerr << run.benchmark_name() << (run.error_occurred ? ": " + run.error_message : std::string())
              << std::endl;
}

void Table::Finalize() {
  std::vector<std::vector<std::string>> lines{{"what", "figure", "unit", "ratio", "to", "limit", ""}};
  std::vector<std::string> sections{""};
  for (const Entry& entry : entries()) {
    const Row& row = entry.row;
    sections.push_back(entry.section);
    if (!entry.skipped.empty()) {
      lines.push_back({row.what, "-", "skipped: " + entry.skipped, "", "", "", ""});
      continue;
    }
    const double judged = row.limits_figure ? row.figure : row.ratio;
    const bool limited = !std::isnan(row.limit) && !std::isnan(judged);
    const bool fine = limited && (row.at_least ? judged >= row.limit : judged <= row.limit);
    lines.push_back({row.what, number(row.figure), row.unit, number(row.ratio), row.of,
                     limited ? (row.at_least ? ">= " : "<= ") + number(row.limit) : "",
                     limited ? (fine ? "met" : "NOT MET") : ""});
  }
  std::vector<std::size_t> width(lines[0].size());
  for (const auto& line : lines) {
    for (std::size_t k = 0; k < line.size(); ++k) {
      if (line[1] != "-" || k != 2) width[k] = std::max(width[k], line[k].size());
    }
  }
  std::cout << "\nvector target " << ness::sim::vector_target() << "\n";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (sections[i] != (i > 0 ? sections[i - 1] : "")) std::cout << sections[i] << "\n";
    std::string text = i == 0 ? "" : "  ";
    for (std::size_t k = 0; k < lines[i].size(); ++k)
      text += padded(lines[i][k], width[k] + (i == 0 && k == 0 ? 2 : 0), k == 1 || k == 3) + "  ";
    text.erase(text.find_last_not_of(' ') + 1);
    std::cout << text << "\n";
  }
  std::cout << std::flush;
}

}  // namespace benchmarks
