// Apart, so that one source reads Boost.Math.
#include "student_quantile.hpp"

#include <boost/math/distributions/students_t.hpp>

namespace ness {

double student_quantile(double degrees_of_freedom, double p) {
  return boost::math::quantile(boost::math::students_t(degrees_of_freedom), p);
}

}  // namespace ness
