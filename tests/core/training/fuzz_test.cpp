#include "fuzz.hpp"

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include "ness/training/csv_task.hpp"
#include "ness/training/idx_file.hpp"

using namespace ness;

namespace {
struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ness-fuzz-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return (path / name).string();
  }
};
}  // namespace

TEST_CASE("damaged IDX files are read or refused, and nothing else") {
  const Scratch scratch;
  Random random(1);
  std::string valid{'\0', '\0', '\x08', '\x03', '\0', '\0', '\0', '\x02',
                    '\0', '\0', '\0',   '\x03', '\0', '\0', '\0', '\x02'};
  valid += "abcdefghijkl";
  CHECK(read_idx(scratch.write("valid.idx", valid)).values.size() == 12);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string path = scratch.write("damaged.idx", fuzz::damaged(valid, random));
    fuzz::answered([&] { read_idx(path); }, refused);
  }
  CHECK(refused > 1000);  // most damage affects sizes or lengths
}

TEST_CASE("damaged CSV files are read or refused, and nothing else") {
  const Scratch scratch;
  Random random(2);
  const std::string valids[] = {
      "x,y,t\n1,2,3\n-0.5,1e3,7\n0,0,0\n",
      "\xef\xbb\xbfsep=;\r\n\"x\";y;\"t \"\r\n+1;2;3\r\n\"-0.5\";1e3;7\r\n0;0;0\r\n",
      "\"x\" \"y\" \"name\" \"t\"\n\"1\" 1 2 \"a \\\"b\\\"\" 3\n\"2\" -0.5 1e3 \"c\" 7\n\"3\" 0 0 \"\" 0\n",
      "# of today\n# x y t\n1 2 3\n-0.5 1e3 7\n0 0 0\n# end\n",
  };
  CsvOptions options;
  options.inputs = {"x", "y"};
  options.targets = {"t"};
  options.standardise = true;
  for (const std::string& valid : valids) {
    CAPTURE(valid);
    options.train = scratch.write("valid.csv", valid);
    CHECK(csv_task(options, 0, 1).train.size() == 3);
    int refused = 0;
    for (int i = 0; i < 2000; ++i) {
      options.train = scratch.write("damaged.csv", fuzz::damaged(valid, random));
      fuzz::answered([&] { csv_task(options, 0, 1); }, refused);
    }
    CHECK(refused > 300);
  }
}
