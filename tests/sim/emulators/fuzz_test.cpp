#include "fuzz.hpp"

#include <catch2/catch.hpp>

#include "ness/emulators/scpi.hpp"

using namespace ness;
using namespace ness::sim;

TEST_CASE("damaged messages are taken apart or answered with a standard error", "[fuzz]") {
  const std::string valid =
      ":SOUR2:VOLT:LEV:IMM 1.25E-1 MV;*ESE #H3C;:ROUT:SCAN (@101,103:105);FOO "
      "'x''y',\"z\",#15HELLO,ON;TRIG:SOUR IMM";
  scpi::CommandTable table;
  table.add("[:SOURce#]:VOLTage[:LEVel][:IMMediate]");
  table.add(":ROUTe:SCAN");
  table.add("*ESE");
  Random random(2);
  int faults = 0, found = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string message = fuzz::damaged(valid, random);
    scpi::MessageReader reader(message);
    for (int units = 0;; ++units) {
      REQUIRE(units < 1000);
      try {
        const auto unit = reader.next();
        if (!unit) break;
        table.find(*unit);
        ++found;
        const scpi::Arguments arguments(*unit);
        for (std::size_t k = 0; k < arguments.size(); ++k) {
          try {
            if (arguments.is_channels(k)) arguments.channels(k);
            else arguments.number(k, {-1, 1, 0, "V"});
          } catch (const scpi::Fault& fault) {
            CHECK_FALSE(scpi::standard_text(fault.number()).empty());
          }
        }
      } catch (const scpi::Fault& fault) {
        ++faults;
        CHECK_FALSE(scpi::standard_text(fault.number()).empty());
      }
    }
  }
  CHECK(faults > 1000);
  CHECK(found > 1000);
}
