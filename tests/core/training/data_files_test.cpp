#include <catch2/catch.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>

#include <zlib.h>

#include "ness/training/csv_task.hpp"
#include "ness/training/find_data.hpp"
#include "ness/training/idx_file.hpp"
#include "ness/training/image_task.hpp"
#include "ness/device/error.hpp"
#include "ness/device/random.hpp"

using namespace ness;
namespace fs = std::filesystem;

namespace {

class Directory {
 public:
  Directory() {
    std::string name = (fs::temp_directory_path() / "ness-data-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary directory");
    path = name;
  }
  ~Directory() { fs::remove_all(path); }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
    return (path / name).string();
  }
  fs::path path;
};

// A gzip member (RFC 1952) of one stored block (RFC 1951); at most 65,535 bytes.
std::string gzip(const std::string& content) {
  const auto little_endian = [](std::uint32_t x, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += static_cast<char>(x >> 8 * i & 255);
    return text;
  };
  const auto size = static_cast<std::uint32_t>(content.size());
  const std::string header = std::string("\x1f\x8b\x08", 3) + std::string(6, '\0') + '\x03';
  const auto check =
      static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), size));
  return header + '\x01' + little_endian(size, 2) + little_endian(~size, 2) + content +
         little_endian(check, 4) + little_endian(size, 4);
}

// The bytes of an IDX file according to the format's definition.
std::string idx(const std::vector<std::uint32_t>& shape, const std::string& values, char type = 0x08) {
  std::string bytes{0, 0, type, static_cast<char>(shape.size())};
  for (const std::uint32_t size : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> shift & 255);
  }
  return bytes + values;
}

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int v : values) text += static_cast<char>(v);
  return text;
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const FileError& error) {
    return error.what();
  }
  return "no FileError";
}

}  // namespace

TEST_CASE("IDX files are read, plain and compressed", "[idx]") {
  const Directory directory;
  const std::string content = idx({2, 1, 3}, bytes({0, 1, 2, 253, 254, 255}));
  for (const std::string& path :
       {directory.write("a.idx", content), directory.write("a.idx.gz", gzip(content))}) {
    const IdxFile file = read_idx(path);
    CHECK(file.shape == std::vector<std::uint32_t>{2, 1, 3});
    CHECK(file.values == std::vector<std::uint8_t>{0, 1, 2, 253, 254, 255});
    CHECK(file.path == path);
  }
}

TEST_CASE("a bad IDX file is answered with what was expected and found", "[idx]") {
  const Directory directory;
  const auto said = [&](const std::string& content) {
    return error_of([&] { read_idx(directory.write("bad.idx", content)); });
  };
  const std::string good = idx({2, 3}, "abcdef");
  CHECK_THAT(said(good.substr(0, good.size() - 2)),
             Catch::Contains("bad.idx: truncated: expected 6 bytes of values (2 x 3), found 4"));
  CHECK_THAT(said(good + "g"), Catch::Contains("too long: expected 6 bytes"));
  CHECK_THAT(said("%PDF-1.4"),
             Catch::Contains("not an IDX file: begins with the bytes 25 50; expected 00 00"));
  CHECK_THAT(said(idx({2, 3}, "abcdef", 0x0d)), Catch::Contains("element type 0x0d; expected 0x08"));
  CHECK_THAT(said(idx({}, "")), Catch::Contains("0 dimensions"));
  CHECK_THAT(said(good.substr(0, 9)), Catch::Contains("header ends within its 2 sizes"));
  CHECK_THAT(said("ab"), Catch::Contains("2 bytes long"));
  CHECK_THAT(said(""), Catch::Contains("0 bytes long"));
  CHECK_THAT(said(idx({4000000000u, 4000000000u}, "")),
             Catch::Contains("impossible IDX sizes 4000000000 x 4000000000"));
  // A false header does not allocate memory for missing data.
  CHECK_THAT(said(idx({1u << 20, 1u << 18}, "abc")), Catch::Contains("found 3"));
  CHECK_THAT(error_of([&] { read_idx((directory.path / "none").string()); }),
             Catch::Contains("none: cannot be opened: No such file"));
  CHECK_THAT(error_of([&] { read_idx(directory.path.string()); }),
             Catch::Contains("cannot be read") || Catch::Contains("cannot be opened"));
}

TEST_CASE("damaged gzip data are found", "[idx]") {
  const Directory directory;
  std::string values(5000, ' ');
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<char>(i * i % 251);
  const std::string good = gzip(idx({50, 100}, values));
  const auto said = [&](const std::string& content) {
    return error_of([&] { read_idx(directory.write("bad.gz", content)); });
  };
  CHECK_THAT(said(good.substr(0, good.size() / 2)),
             Catch::Contains("bad.gz: damaged gzip data: the compressed stream ends early"));
  std::string wrong = good;
  wrong[wrong.size() - 6] = static_cast<char>(wrong[wrong.size() - 6] ^ 1);  // in the check sum
  CHECK_THAT(said(wrong), Catch::Contains("damaged gzip data") && Catch::Contains("incorrect data check"));
  CHECK(said(good) == "no FileError");
}

TEST_CASE("bytes become levels, and shifts move images", "[images]") {
  IdxFile file;
  file.shape = {2, 2, 3};
  file.values = {255, 51, 0, 0, 102, 0, 1, 2, 3, 4, 5, 6};
  const auto plain = byte_images("train", file, {-2, 2}, false);
  CHECK(plain->width() == 6);
  CHECK(plain->rows() == 2);
  CHECK(plain->levels(0) ==
        (Vector(6) << 2, -2 + 4.0 * 51 / 255, -2, -2, -2 + 4.0 * 102 / 255, -2).finished());
  CHECK_FALSE(plain->source().has_value());

  const auto shifted = byte_images("train", file, {0, 255}, true);  // levels are the bytes
  REQUIRE(shifted->variants() == 9);
  CHECK(shifted->rows() == 18);
  CHECK(shifted->base_rows() == 2);
  CHECK(shifted->levels(1) == (Vector(6) << 1, 2, 3, 4, 5, 6).finished());
  CHECK(shifted->digest() == byte_images("x", file, {0, 255}, false)->digest());
  std::vector<std::vector<double>> seen;
  for (std::uint64_t v = 0; v < 9; ++v) {
    const Vector image = shifted->levels(v * 2 + 1);
    seen.emplace_back(image.begin(), image.end());
  }
  // All nine shifts of [1 2 3; 4 5 6], each once.
  const std::vector<std::vector<double>> all{{1, 2, 3, 4, 5, 6}, {2, 3, 0, 5, 6, 0}, {0, 1, 2, 0, 4, 5},
                                             {0, 0, 0, 1, 2, 3}, {4, 5, 6, 0, 0, 0}, {0, 0, 0, 2, 3, 0},
                                             {0, 0, 0, 0, 1, 2}, {5, 6, 0, 0, 0, 0}, {0, 4, 5, 0, 0, 0}};
  for (const auto& image : all) CHECK(std::count(seen.begin(), seen.end(), image) == 1);
  CHECK_THROWS_WITH(shifted->levels(18), Catch::Contains("row 18 of 18"));

  file.values.pop_back();
  CHECK_THROWS_WITH(byte_images("t", file, {}, false), Catch::Contains("11 values for shape 2 x 2 x 3"));
  file.shape = {11};
  CHECK_THROWS_WITH(byte_images("t", file, {}, false), Catch::Contains("expected images x rows x columns"));
  file.shape = {0, 2, 3};
  CHECK_THROWS_WITH(byte_images("t", file, {}, false), Catch::Contains("no pixel"));
}

TEST_CASE("images are decoded pixel by pixel, black stretches too, however they are shifted", "[images]") {
  constexpr int height = 4, width = 27;
  IdxFile file;
  file.shape = {3, height, width};
  Random random(5, 1);
  for (int i = 0; i < 3 * height * width; ++i)
    file.values.push_back(random.uniform() < 0.1 ? static_cast<std::uint8_t>(1 + 254 * random.uniform())
                                                 : std::uint8_t{0});
  const auto set = byte_images("train", file, {-2, 2}, true);
  // Movement of each variant to the right and down (pattern.hpp counts variants; image_task.cpp has their
  // order).
  const std::pair<int, int> moved[] = {{0, 0}, {-1, -1}, {0, -1}, {1, -1}, {-1, 0},
                                       {1, 0}, {-1, 1},  {0, 1},  {1, 1}};
  for (std::uint64_t row = 0; row < set->rows(); ++row) {
    const auto [dx, dy] = moved[row / 3];
    set->expect(row);
    const Vector levels = set->levels(row);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const bool inside = x - dx >= 0 && x - dx < width && y - dy >= 0 && y - dy < height;
        const int byte = inside
                             ? file.values[((row % 3) * height + static_cast<std::size_t>(y - dy)) * width +
                                           static_cast<std::size_t>(x - dx)]
                             : 0;
        REQUIRE(levels[y * width + x] == -2 + 4.0 * byte / 255);
      }
    }
  }
}

TEST_CASE("an image task fits images to labels", "[images]") {
  const Directory directory;
  ImageTaskOptions options;
  options.train_images = directory.write("images", idx({3, 2, 2}, "abcdefghijkl"));
  options.train_labels = directory.write("labels", idx({3}, bytes({2, 0, 1})));
  options.classes = 3;
  options.shifts = true;
  Task task = image_task(options, 30);
  CHECK(task.train.size() == 3);
  CHECK(task.train.target(0)[0] == 2);
  CHECK(task.train.inputs->variants() == 9);
  CHECK(task.test.size() == 0);
  CHECK(task.loss->classifies());
  const auto source = task.train.inputs->source();
  REQUIRE(source.has_value());
  CHECK(source->path == options.train_images);
  CHECK_THAT(source->encoding, Catch::Contains("low = -2, high = 2") && Catch::Contains("9 variants"));

  options.train_limit = 2;
  const Dataset two = image_task(options, 30).train;
  CHECK(two.size() == 2);
  CHECK(two.inputs->base_rows() == 2);  // so that few samples are few in a log too
  for (std::uint64_t i = 0; i < 2; ++i) {
    for (std::uint32_t variant = 0; variant < task.train.inputs->variants(); ++variant)
      CHECK(two.pattern(i, variant).levels() == task.train.pattern(i, variant).levels());
  }
  options.whole_files = true;
  CHECK(image_task(options, 30).train.inputs->digest() == task.train.inputs->digest());
  options.whole_files = false;
  options.train_limit = 4;
  CHECK_THROWS_WITH(image_task(options, 30), Catch::Contains("first 4 samples") && Catch::Contains("has 3"));
  options.train_limit = 0;

  const auto said = [&] { return error_of([&] { image_task(options, 30); }); };
  options.classes = 2;
  CHECK_THAT(said(), Catch::Contains("labels: label 2 of sample 0; expected a class below 2"));
  options.classes = 3;
  options.train_labels = directory.write("few", idx({2}, bytes({0, 1})));
  CHECK_THAT(said(), Catch::Contains("few: 2 labels for the 3 images of") && Catch::Contains("images"));
  options.train_labels = options.train_images;
  CHECK_THAT(said(), Catch::Contains("labels have one dimension"));
  options.train_labels = directory.write("labels", idx({3}, bytes({2, 0, 1})));
  options.test_images = directory.write("test", idx({3, 2, 3}, "abcdefghijklmnopqr"));
  options.test_labels = options.train_labels;
  CHECK_THAT(said(), Catch::Contains("test: images of 6 pixels; those of") && Catch::Contains("have 4"));
  options.test_labels.clear();
  CHECK_THROWS_AS(image_task(options, 30), std::invalid_argument);
}

TEST_CASE("CSV columns become a task", "[csv]") {
  const Directory directory;
  CsvOptions options;
  options.train = directory.write(
      "train.csv", "\xef\xbb\xbfname, x ,y,unused\r\nfirst,1.5,-2e-1,text\r\n\r\n  \nsecond, 2 ,7,\n");
  options.inputs = {"x"};
  options.targets = {"y"};
  options.input_scale = 2;
  options.input_offset = 1;
  const Task task = csv_task(options, 0, 1);
  REQUIRE(task.train.size() == 2);
  CHECK(task.train.pattern(0).levels()[0] == 4);
  CHECK(task.train.target(0)[0] == -0.2);
  CHECK(task.train.target(1)[0] == 7);
  CHECK(task.loss->name() == "squared-error");
  CHECK(task.test.size() == 0);

  const auto said = [&](const std::string& content, std::uint32_t classes = 0) {
    options.train = directory.write("bad.csv", content);
    return error_of([&] { csv_task(options, classes, 1); });
  };
  CHECK_THAT(said("x,y\n1,2\n3,four\n"),
             Catch::Contains("bad.csv:3: column 'y': 'four'; expected a finite number"));
  CHECK_THAT(said("x,y\n1,2\n\nnan,4\n"), Catch::Contains("bad.csv:4: column 'x': 'nan'"));
  CHECK_THAT(said("x,y\n1,inf\n"), Catch::Contains("'inf'"));
  CHECK_THAT(said("x,y\n1,1e999\n"), Catch::Contains("'1e999'"));
  CHECK_THAT(said("x,y\n1,2.5kT\n"), Catch::Contains("'2.5kT'"));
  CHECK_THAT(said("x,y\n1,\n"), Catch::Contains("column 'y': ''"));
  CHECK_THAT(said("x,y\n1\n"), Catch::Contains("bad.csv:2: column 'y': 1 field; expected 2"));
  CHECK_THAT(said("x,y\n1,2,3\n"), Catch::Contains("3 fields; expected 2"));
  CHECK_THAT(said("x,z\n1,2\n"),
             Catch::Contains("bad.csv:1: column 'y': not there; the columns are 'x', 'z'"));
  CHECK_THAT(said("x,y,x\n1,2,3\n"), Catch::Contains("column 'x': is there twice"));
  CHECK_THAT(said("x,y\n"), Catch::Contains("no row of data"));
  CHECK_THAT(said("\n"), Catch::Contains("expected a header line"));
  CHECK_THAT(said("x,y\n1,2\n", 2),
             Catch::Contains("column 'y': 2; expected a class, a whole number below 2"));
  CHECK_THAT(said("x,y\n1,0.5\n", 2), Catch::Contains("column 'y': 0.5; expected a class"));
  CHECK(said("x,y\n1,1\n", 2) == "no FileError");
  CHECK(csv_task(options, 2, 5).loss->name() == "cross-entropy");
  options.train = (directory.path / "none.csv").string();
  CHECK_THAT(error_of([&] { csv_task(options, 0, 1); }), Catch::Contains("none.csv: cannot be opened"));
  options.inputs.clear();
  CHECK_THROWS_AS(csv_task(options, 0, 1), std::invalid_argument);
}

TEST_CASE("CSV files are read as spreadsheets, R, pandas and numpy write them", "[csv]") {
  const Directory directory;
  CsvOptions options;
  options.inputs = {"x"};
  options.targets = {"y"};
  const auto reads = [&](const std::string& content) {
    options.train = directory.write("dialect.csv", content);
    const Task task = csv_task(options, 0, 1);
    return task.train.size() == 2 && task.train.pattern(0).levels()[0] == 1.5 &&
           task.train.target(1)[0] == -4;
  };
  CHECK(reads("\"x\",\"y\"\n1.5,2\n3,-4\n"));
  CHECK(reads("x;y\r\n+1.5;2\r\n3;-4\r\n"));
  CHECK(reads("x\ty\n1.5\t2\n3\t-4"));
  CHECK(reads("  x   y\n 1.5  2\n 3 -4\n"));
  CHECK(reads("# x y\n1.5e+00 2\n3 -4\n"));
  CHECK(reads("# measured today\n#\nx,y\n1.5,2\n3,-4\n"));
  CHECK(reads("\"x\" \"y\"\n\"1\" 1.5 2\n\"2\" 3 -4\n"));  // write.table of R
  CHECK(reads(",x,y\n0,1.5,2\n1,3,-4\n"));                 // to_csv of pandas
  CHECK(reads("\"a \"\"b\"\", c\",x,y\n\",\",1.5,2\n,3,-4\n"));
  options.dialect.decimal_comma = true;
  CHECK(reads("x;y\n1,5;2\n3;-4,0\n"));
  CHECK(reads("x y\n1,5 2\n3 -4,0\n"));
  CHECK_THAT(error_of([&] { reads("x;y\n1.5;2\n"); }),
             Catch::Contains("dialect.csv:2: column 'x': '1.5'") &&
                 Catch::Contains("decimal_comma = true expects 0,5"));
  options.dialect = {};
  options.dialect.skip = 1;
  options.dialect.header = false;
  options.inputs = {"1"};
  options.targets = {"2"};
  CHECK(reads("150,4,setosa\n1.5,2\n3,-4\n"));
  options.dialect = {};
  options.inputs = {"x"};
  options.targets = {"y"};
  const auto said = [&](const std::string& content) { return error_of([&] { reads(content); }); };
  CHECK_THAT(said("x;y\n1,5;2\n"), Catch::Contains("dialect.csv:2: column 'x': '1,5'") &&
                                       Catch::Contains("(a decimal comma? then decimal_comma = true)"));
  CHECK_THAT(said("x,y\n1,5,2,0\n"), Catch::Contains("dialect.csv:2") && Catch::Contains("(decimal commas?"));
  CHECK_THAT(said("x,y\nNA,2\n"), Catch::Contains("(a missing value"));
  CHECK_THAT(said("X,y\n1,2\n"), Catch::Contains("(capital letters count: 'X'?)"));
  CHECK_THAT(said("1.5,2\n3,-4\n"), Catch::Contains("then header = false"));
  CHECK_THAT(said("x,y\n\"1,2\n"), Catch::Contains("dialect.csv:2: a quote is not closed"));
  CHECK_THAT(said("PK\x03\x04"), Catch::Contains("a ZIP archive, as .xlsx and .ods are; expected text"));
}

TEST_CASE("CSV columns are chosen by ranges and by what is left out; labels are texts", "[csv]") {
  const Directory directory;
  CsvOptions options;
  options.train = directory.write("train.csv", ",a,b,c,kind\n0,1,2,3,wolf\n1,4,5,6,ant\n2,7,8,9,bee\n");
  options.targets = {"kind"};
  const auto chosen = [&](const std::vector<std::string>& inputs) {
    options.inputs = inputs;
    return csv_task(options, 3, 1).train.origin->inputs;
  };
  using Names = std::vector<std::string>;
  CHECK(chosen({"all"}) == Names{"a", "b", "c"});
  CHECK(chosen({"all but kind"}) == Names{"a", "b", "c"});
  CHECK(chosen({"all but a, c"}) == Names{"b"});
  CHECK(chosen({"c", "a..b"}) == Names{"c", "a", "b"});
  CHECK_THAT(error_of([&] { chosen({"c..a"}); }), Catch::Contains("'a' stands before 'c'"));
  CHECK_THAT(error_of([&] { chosen({"all but d"}); }), Catch::Contains("column 'd': not there"));
  options.inputs = {"all"};
  CsvLearned learned;
  const Task task = csv_task(options, 3, 1, &learned);
  CHECK(learned.labels == Names{"ant", "bee", "wolf"});
  CHECK(task.train.targets(0, 0) == 2);
  options.learned.labels = {"wolf", "ant", "bee"};
  CHECK(csv_task(options, 3, 1).train.targets(0, 0) == 0);
  options.learned.labels = {"wolf", "ant", "cat"};
  CHECK_THAT(
      error_of([&] { csv_task(options, 3, 1); }),
      Catch::Contains("train.csv:4: column 'kind': 'bee'; expected a label, one of 'wolf', 'ant', 'cat'"));
  options.learned.labels.clear();
  CHECK_THAT(error_of([&] { csv_task(options, 2, 1); }), Catch::Contains("3 labels, 'ant', 'bee', 'wolf'"));
}

TEST_CASE("CSV rows are split by share, each class alike, and standardised by the training part", "[csv]") {
  const Directory directory;
  std::string text = "x,k,kind\n";
  for (int i = 0; i < 40; ++i) text += std::to_string(i * i) + ",7," + (i % 4 == 0 ? "a" : "b") + "\n";
  CsvOptions options;
  options.train = directory.write("train.csv", text);
  options.inputs = {"x", "k"};
  options.targets = {"kind"};
  options.test_share = 0.2;
  options.validation_share = 0.1;
  options.standardise = true;
  CsvLearned learned;
  const Task task = csv_task(options, 2, 1, &learned);
  // Of 10 "a" and 30 "b": 2 and 6 for the test, 1 and 3 for validation.
  CHECK(task.test.size() == 8);
  CHECK(task.test.targets.sum() == 6);
  CHECK(task.validation.size() == 4);
  CHECK(task.validation.targets.sum() == 3);
  REQUIRE(task.train.size() == 28);
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < 28; ++i) {
    const Vector levels = task.train.pattern(i).levels();
    sum += levels[0];
    squares += levels[0] * levels[0];
    CHECK(levels[1] == 0);  // a column of one number
  }
  // 28 numbers of about 1: rounding of 1e-15 each.
  CHECK(std::abs(sum) < 1e-12);
  CHECK(std::abs(squares - 28) < 1e-12);
  CHECK(csv_task(options, 2, 1).test.rows == task.test.rows);
  options.split_seed = 1;
  CHECK(csv_task(options, 2, 1).test.rows != task.test.rows);
  // What was learned holds for another file, and is not learned again.
  options.learned = learned;
  options.test_share = options.validation_share = 0;
  options.train = directory.write("later.csv", "x,k,kind\n100,8,b\n");
  const Task later = csv_task(options, 2, 1);
  const auto& [mean, deviation] = learned.standard[0];
  CHECK(later.train.pattern(0).levels()[0] == (100 - mean) / deviation);
  CHECK(later.train.pattern(0).levels()[1] == 1);
  options.test_share = 0.6;
  options.validation_share = 0.4;
  CHECK_THROWS_AS(csv_task(options, 2, 1), std::invalid_argument);
}

TEST_CASE("CSV targets are scaled", "[csv]") {
  const Directory directory;
  CsvOptions options;
  options.train = directory.write("train.csv", "x,y\n1,200\n2,100\n");
  options.inputs = {"x"};
  options.targets = {"y"};
  options.target_scale = 0.25;
  options.target_offset = 1;
  const Task task = csv_task(options, 0, 1);
  CHECK(task.train.target(0)[0] == 51);
  CHECK(task.loss->threshold() == 38.5);
}

TEST_CASE("a data directory is looked for where it was given", "[data]") {
  const Directory directory;
  fs::create_directory(directory.path / "digits");
  CHECK(find_data("digits", directory.path.string()) == (directory.path / "digits").string());
  CHECK_THAT(error_of([&] { find_data("letters", directory.path.string()); }),
             Catch::Contains("'letters'") && Catch::Contains((directory.path / "letters").string()) &&
                 !Catch::Contains("./data"));
  CHECK_THAT(
      error_of([&] { find_data("no-such-data-set", ""); }),
      Catch::Contains("./data/no-such-data-set") && Catch::Contains("../shared/data/no-such-data-set"));
}

TEST_CASE("the MNIST files are the published ones", "[mnist]") {
  std::optional<std::string> found;
  try {
    found = find_data("mnist", "");
  } catch (const FileError& error) {
    WARN("skipped: " << error.what());
  }
  if (!found) return;
  const fs::path root = *found;
  ImageTaskOptions options;
  options.train_images = (root / "train-images-idx3-ubyte.gz").string();
  options.train_labels = (root / "train-labels-idx1-ubyte.gz").string();
  options.test_images = (root / "t10k-images-idx3-ubyte.gz").string();
  options.test_labels = (root / "t10k-labels-idx1-ubyte.gz").string();
  options.encoding = {0, 1};
  const Task task = image_task(options, 30);
  REQUIRE(task.train.size() == 60000);
  REQUIRE(task.test.size() == 10000);
  CHECK(task.train.inputs->width() == 784);
  const auto counts = [](const Dataset& set) {
    std::vector<int> count(10, 0);
    for (std::uint64_t i = 0; i < set.size(); ++i) ++count.at(static_cast<std::size_t>(set.target(i)[0]));
    return count;
  };
  CHECK(counts(task.train) == std::vector<int>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949});
  CHECK(counts(task.test) == std::vector<int>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
  double sum = 0;
  Vector levels(784);
  for (std::uint64_t i = 0; i < task.train.size(); ++i) {
    task.train.inputs->levels(i, levels);
    sum += levels.mean();
  }
  CHECK(sum / 60000 == Approx(0.13066).margin(5e-6));  // published to five digits
}
