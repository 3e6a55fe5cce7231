#include "formula.hpp"

#include <muParser.h>

#include <memory>
#include <stdexcept>

namespace ness {

std::function<double(double)> formula(const std::string& text) {
  struct Parsed {
    mu::Parser parser;
    double x = 1;
  };
  auto parsed = std::make_shared<Parsed>();
  try {
    parsed->parser.DefineVar("x", &parsed->x);
    parsed->parser.DefineConst("pi", 3.14159265358979323846);
    parsed->parser.SetExpr(text);
    parsed->parser.Eval();
  } catch (const mu::Parser::exception_type& error) {
    std::string message = error.GetMsg();
    throw std::invalid_argument("expected a formula of x, as in exp(-x^2/10)*sin(5*x), found \"" + text +
                                "\": " + message);
  }
  return [parsed](double x) {
    parsed->x = x;
    return parsed->parser.Eval();
  };
}

}  // namespace ness
