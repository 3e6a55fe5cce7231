#pragma once

namespace ness {

/// The quantile of Student's distribution: below it lies the share `p` of all that has so many degrees of
/// freedom.
double student_quantile(double degrees_of_freedom, double p);

}  // namespace ness
