// Bar of the log's rate: rows of a 784-30-10 network, compared with a bare sequential write of the same
// number of bytes, both ended by fdatasync; processor time per row. Prints one line of JSON per mode.
//   ness-bar-log-rate FOLDER [EPOCHS [GROUP_ROWS]]
#include <cstdio>
#include <exception>
#include <string>

#include "benchmarks/log_rate.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "ness-bar-log-rate FOLDER [EPOCHS [GROUP_ROWS]]\n");
    return 2;
  }
  try {
    for (const bool background : {true, false}) {
      log_rate::Options options;
      options.folder = argv[1];
      options.background = background;
      if (argc > 2) options.epochs = std::stoull(argv[2]);
      if (argc > 3) options.group_rows = std::stoull(argv[3]);
      const log_rate::Result r = log_rate::measure(options);
      std::printf(
          "{\"mode\": \"%s\", \"rows\": %llu, \"group_rows\": %llu, \"bytes\": %.0f, \"rows_per_s\": %.0f, "
          "\"appended_per_s\": %.0f, \"bare_bytes_per_s\": %.3g, "
          "\"log_s\": %.4f, \"bare_s\": %.4f, \"ratio\": %.3f, \"caller_us\": %.3f, \"writer_us\": %.3f}\n",
          background ? "background" : "caller", static_cast<unsigned long long>(r.rows),
          static_cast<unsigned long long>(options.group_rows), r.bytes, r.rows_per_second,
          r.appended_per_second, r.bare_bytes_per_second, r.log_seconds, r.bare_seconds, r.ratio,
          1e6 * r.caller_seconds, 1e6 * r.writer_seconds);
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ness-bar-log-rate: %s\n", error.what());
    return 1;
  }
  return 0;
}
