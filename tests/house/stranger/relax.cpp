// One relaxation of the divider, with only the device library.
#include <iostream>

#include "divider.hpp"

int main() {
  Divider device;
  ness::Drive drive;
  drive.theta = ness::Parameters::of(ness::Vector::Constant(1, 3.0));
  drive.clamp = ness::pattern_of(ness::Vector::Constant(1, 2.0));
  const double out = device.relax(drive).potential[0];
  std::cout << "out = " << out << "\n";
  return out == 1.5 ? 0 : 1;
}
