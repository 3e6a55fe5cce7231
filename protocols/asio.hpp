// Boost 1.74's asio.hpp uses std::exchange without including <utility>, which C++20 needs: this header
// includes both.
#pragma once
#include <utility>

#include <boost/asio.hpp>
