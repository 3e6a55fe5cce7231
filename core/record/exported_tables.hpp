// The tables of a log as they are exported: a sheet receives each column of each row.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "log_layout.hpp"
#include "ness/device/error.hpp"
#include "ness/record/log.hpp"
#include "relaxation_fields.hpp"

namespace ness::exported {

/// The layout of a log's rows, from what its reader says.
inline log_layout::Layout layout_of(const LogReader& log) {
  log_layout::Layout layout = log_layout::layout_of(log.header().info, false, 0);
  layout.version = log.format();
  for (std::uint64_t i = 0; i < log.steps(); ++i) {
    try {
      layout.theta_width = static_cast<std::uint64_t>(log.theta(i).size());
      break;
    } catch (const LogError&) {}  // damaged: the next one says it too
  }
  return layout;
}

/// Passes the fields of a row of relaxations to a sheet, as describe() does those of the other tables.
template <class Sheet>
struct Fields {
  Sheet& sheet;
  const LogRow& row;
  const log_layout::Layout& layout;

  template <class Give, class Place>
  void field(const log_layout::FieldText& text, const Give&, const Place& place,
             log_layout::Value<Give> = {}) {
    if (text.since > layout.version) return;
    sheet.scalar(text.name, text.unit, text.meaning, static_cast<log_layout::Value<Give>>(place.get(row)));
  }
  template <class Give, class Place>
  void list(const log_layout::FieldText& text, const Give&, const Place& place) {
    if (text.since > layout.version) return;
    const auto& values = place.get(row);
    const std::vector<log_layout::Entry<Give>> copy(values.begin(), values.end());
    sheet.list(text.name, text.unit, text.meaning, copy);
  }
  template <class Give, class Place>
  void readings(const log_layout::FieldText& text, const Give& give, const Place& place,
                std::uint64_t width) {
    if (width == 0) return list(text, give, place);
    if constexpr (std::is_same_v<log_layout::Entry<Give>, double>) {
      Vector values = Eigen::Map<const Vector>(place.get(row).data(), std::ssize(place.get(row)));
      sheet.row(text.name, text.unit, text.meaning, values, width);
    }
  }
};

template <class Sheet>
void describe_row(Sheet& sheet, const LogRow& row, const log_layout::Layout& layout) {
  Fields<Sheet> fields{sheet, row, layout};
  log_layout::each_field(fields, layout);
}

template <class Names, class Name>
std::vector<std::string> names_of(const Names& all, Name name) {
  std::vector<std::string> names;
  for (const auto& one : all) names.push_back(name(one));
  return names;
}
inline std::vector<std::string> terminal_names(const DeviceInfo& info,
                                               const std::vector<std::uint32_t>& terminals) {
  return names_of(terminals, [&](std::uint32_t t) { return info.terminals.at(t).name; });
}

/// The levels of a row's input; empty where the log does not hold its pattern set.
inline Vector input_levels(const LogReader& log, const LogRow& row) {
  const auto& sets = log.header().pattern_sets;
  if (row.pattern_set >= sets.size() || !sets[row.pattern_set] ||
      row.pattern_row >= sets[row.pattern_set]->rows())
    return {};
  Vector levels(static_cast<Eigen::Index>(sets[row.pattern_set]->width()));
  sets[row.pattern_set]->levels(row.pattern_row, levels);
  return levels;
}

/// What was wanted of a relaxation, where the log holds its task with targets.
struct Targets {
  std::vector<std::string> names;  ///< the outputs, or "class"; empty: no targets are held
  std::string unit = "1";
  /// Of the set of each Label::Purpose [samples x names]; empty: none, or not held.
  std::array<RowMatrix, 5> of;

  /// Empty where there is none.
  Vector operator()(const LogRow& row) const {
    const RowMatrix& wanted = of[static_cast<std::size_t>(row.label.purpose) % of.size()];
    if (row.label.sample >= static_cast<std::uint64_t>(wanted.rows())) return {};
    return wanted.row(static_cast<Eigen::Index>(row.label.sample)).transpose();
  }
};

/// A header that holds no task has no targets.
template <class Header>
Targets targets_of(const Header& header) {
  Targets found;
  if constexpr (requires { header.task->sets; }) {
    if (!header.task) return found;
    for (const auto& set : header.task->sets) {
      const RowMatrix& wanted = set.data.targets;
      if (wanted.rows() == 0) continue;
      const Label::Purpose purpose = set.name == "train"        ? Label::Purpose::train
                                     : set.name == "validation" ? Label::Purpose::validation
                                                                : Label::Purpose::test;
      found.of[static_cast<std::size_t>(purpose)] = wanted;
      const bool potentials =
          !header.task->classifies && static_cast<std::size_t>(wanted.cols()) == header.info.outputs.size();
      found.names = potentials ? terminal_names(header.info, header.info.outputs)
                               : std::vector<std::string>(static_cast<std::size_t>(wanted.cols()), "class");
      if (potentials) found.unit = header.info.potential_unit;
    }
  }
  return found;
}

/// Reads a row of a table; nothing where it is damaged, which is noted.
template <class Read>
auto read_row(std::uint64_t index, std::vector<std::uint64_t>& damaged, const Read& read)
    -> std::optional<decltype(read(index))> {
  try {
    return read(index);
  } catch (const LogError&) {
    damaged.push_back(index);
    return std::nullopt;
  }
}

}  // namespace ness::exported
