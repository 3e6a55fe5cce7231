// Formulas of x in experiment files.
#pragma once

#include <functional>
#include <string>

namespace ness {

/// The function a formula of x describes, "exp(-x^2/10)*sin(5*x)" (the grammar of muParser, and pi). Throws
/// std::invalid_argument saying what is wrong and where in the formula. The function is not for several
/// threads at once.
std::function<double(double)> formula(const std::string& text);

}  // namespace ness
