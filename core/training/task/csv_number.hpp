// Numbers as tables hold them, and what is said of cells that hold none.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ness {

/// The number of a trimmed cell: "-1.5", "+1e+05", "0,5" with decimal_comma. Nothing for what is no finite
/// number. What is nearer to 0 than any double is 0.
std::optional<double> csv_number(std::string_view text, bool decimal_comma);

/// Whether the cell holds a number, with a point or with a comma.
bool is_csv_number(std::string_view text);

/// "", or " (..)": what the cell that holds no number seems to be, and what to do.
std::string csv_number_hint(std::string_view text, bool decimal_comma);

}  // namespace ness
