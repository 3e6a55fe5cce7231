// CSV files as programs really write them, and what is said of files that are none.
#include <catch2/catch.hpp>
#include <algorithm>
#include <fstream>

#include <zlib.h>

#include "ness/training/csv_task.hpp"
#include "support.hpp"

using namespace ness;

namespace {

using Names = std::vector<std::string>;

// What a file holds in columns x and y.
struct Found {
  std::vector<double> x, y;
  bool operator==(const Found& other) const = default;
};
const Found two_rows{{1.5, 3}, {2, -4}};

class Files {
 public:
  CsvOptions options;

  Files() {
    options.inputs = {"x"};
    options.targets = {"y"};
  }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  // As gzip packs it: compressed, in pieces that may be several members.
  std::string write_packed(const std::string& name, const Names& members) const {
    std::ofstream(folder_ / name, std::ios::binary);
    for (const std::string& text : members) {
      gzFile file = gzopen((folder_ / name).c_str(), "ab9");
      gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
      gzclose(file);
    }
    return folder_ / name;
  }
  Found read(const std::string& bytes) {
    options.train = write("t.csv", bytes);
    return found();
  }
  Found found() const {
    const Task task = csv_task(options, 0, 1);
    Found found;
    for (std::uint64_t i = 0; i < task.train.size(); ++i) {
      found.x.push_back(task.train.pattern(i).levels()[0]);
      found.y.push_back(task.train.target(i)[0]);
    }
    return found;
  }
  // What is said of the file, without the folder's name.
  std::string said(const std::string& bytes, std::uint32_t classes = 0) {
    options.train = write("t.csv", bytes);
    return said(classes);
  }
  std::string said(std::uint32_t classes = 0) const {
    std::string text = support::message_of<FileError>([&] { csv_task(options, classes, 1); });
    CHECK(text.find('\n') == std::string::npos);
    const std::string where = folder_ / "";
    for (std::size_t at; (at = text.find(where)) != std::string::npos;) text.erase(at, where.size());
    return text;
  }

  std::string folder() const { return folder_ / ""; }

 private:
  support::Folder folder_;
};

}  // namespace

// Each text is what the program wrote: pandas 1.5.3, numpy 1.24.2, the csv module of Python 3.11.
TEST_CASE("CSV files of pandas are read", "[csv]") {
  Files files;
  const Found small{{1.5, 3}, {2, -4e-5}};
  // DataFrame.to_csv: the index has no name; quotes are doubled; a cell may hold the end of a line.
  CHECK(files.read(",x,\"a name, with comma\",y\n0,1.5,\"say \"\"hi\"\"\",2.0\n1,3.0,\"b\nc\",-4e-05\n") ==
        small);
  CHECK(files.read("x,\"a name, with comma\",y\n1.5,\"say \"\"hi\"\"\",2.0\n3.0,\"b\nc\",-4e-05\n") == small);
  // sep="\t", quoting=csv.QUOTE_NONNUMERIC
  CHECK(files.read("\"\"\t\"x\"\t\"a name, with comma\"\t\"y\"\n0\t1.5\t\"say \"\"hi\"\"\"\t2.0\n"
                   "1\t3.0\t\"b\nc\"\t-4e-05\n") == small);
  // encoding="utf-8-sig"
  CHECK(files.read(
            "\xef\xbb\xbfx,\"a name, with comma\",y\n1.5,\"say \"\"hi\"\"\",2.0\n3.0,\"b\nc\",-4e-05\n") ==
        small);
  // sep=";", decimal=","
  files.options.dialect.decimal_comma = true;
  CHECK(files.read(";x;a name, with comma;y\n0;1,5;\"say \"\"hi\"\"\";2,0\n1;3,0;\"b\nc\";-4e-05\n") ==
        small);
  // A missing value is an empty cell; a column of them is of float, one of truth values of bool.
  files.options.dialect = {};
  CHECK(files.said(",x,ok,y\n0,1.0,True,1\n1,,False,2\n") ==
        "t.csv:3: column 'x': ''; expected a finite number (a missing value: leave the row out, or fill it "
        "in)");
  files.options.inputs = {"ok"};
  CHECK(files.said(",x,ok,y\n0,1.0,True,1\n1,,False,2\n") ==
        "t.csv:2: column 'ok': 'True'; expected a finite number (a truth value? write 1 and 0)");
}

TEST_CASE("CSV files of numpy.savetxt are read", "[csv]") {
  Files files;
  const std::string first = "1.500000000000000000e+00", second = "2.000000000000000000e+00",
                    third = "3.000000000000000000e+00", fourth = "-4.000000000000000000e+00";
  const std::string rows = first + " " + second + "\n" + third + " " + fourth + "\n",
                    comma_rows = first + "," + second + "\n" + third + "," + fourth + "\n";
  CHECK(files.read("# x y\n" + rows) == two_rows);                       // header="x y"
  CHECK(files.read("# x,y\n" + comma_rows) == two_rows);                 // header="x,y", delimiter=","
  CHECK(files.read("# x y\n" + comma_rows) == two_rows);                 // header="x y", delimiter=","
  CHECK(files.read("# measured\n# x\ty\n1.5\t2\n3\t-4\n") == two_rows);  // header="measured\nx\ty", fmt="%g"
  CHECK(files.read("x,y\n" + comma_rows) == two_rows);                   // comments=""
  CHECK(files.read("# x y\n" + rows + "# end\n") == two_rows);           // footer="end"
  CHECK(files.read("# x y\n+1.500 +2.000\n+3.000 -4.000\n") == two_rows);  // fmt="%+.3f"
  files.options.dialect.header = false;
  files.options.inputs = {"1"};
  files.options.targets = {"2"};
  CHECK(files.read(rows) == two_rows);
  CHECK(files.read("# of 1 December\n" + comma_rows) == two_rows);
  CHECK(files.said("# x y\n1 2\n# a pause\n3 4\n") ==
        "t.csv:3: '# a pause': a comment between rows; expected comments above the header or below the last "
        "row");
}

// The forms are those of R's documentation (utils, write.table; "CSV files" there): write.csv and write.csv2
// name the column of row names "", write.table does not; it writes \" for a quote, they write "".
TEST_CASE("CSV files of R are read", "[csv]") {
  Files files;
  CHECK(files.read("\"\",\"x\",\"kind\",\"y\"\n\"1\",1.5,\"a \"\"b\"\"\",2\n\"2\",3,\"c\",-4\n") == two_rows);
  CHECK(files.read("\"x\",\"y\"\n1.5,2\n3,-4\n") == two_rows);  // row.names = FALSE
  CHECK(files.read("\"x\" \"kind\" \"y\"\n\"1\" 1.5 \"a \\\"b\\\"\" 2\n\"2\" 3 \"c\" -4\n") ==
        two_rows);                                                          // write.table
  CHECK(files.read("\"x\",\"y\"\n\"1\",1.5,2\n\"2\",3,-4\n") == two_rows);  // .. with sep = ","
  CHECK(files.read("x\ty\n1\t1.5\t2\n2\t3\t-4\n") == two_rows);             // .. "\t", quote = FALSE
  CHECK(files.read("x y\na 1.5 2\nb 3 -4\n") == two_rows);
  CHECK(files.read("\"x\" \"y\"\n\"1\" 1.5 2e+00\n\"2\" 3 -4e+00\n") == two_rows);
  files.options.dialect.decimal_comma = true;
  CHECK(files.read("\"\";\"x\";\"y\"\n\"1\";1,5;2\n\"2\";3;-4\n") == two_rows);  // write.csv2
  files.options.dialect = {};
  CHECK(files.said("\"\",\"x\",\"y\"\n\"1\",NA,2\n") ==
        "t.csv:2: column 'x': 'NA'; expected a finite number (a missing value: leave the row out, or fill it "
        "in)");
  CHECK(files.said("\"\",\"x\",\"y\"\n\"1\",Inf,2\n") ==
        "t.csv:2: column 'x': 'Inf'; expected a finite number (an infinity: no level stands for it)");
  CHECK(files.said("\"\",\"x\",\"y\"\n\"1\",TRUE,2\n") ==
        "t.csv:2: column 'x': 'TRUE'; expected a finite number (a truth value? write 1 and 0)");
  // Fields that decimal commas would give as well are not taken for names of rows.
  CHECK(files.said("x,y\n1,5,2\n") ==
        "t.csv:2: column 'y': 3 fields; expected 2, as in the header (a "
        "separator within a cell? the cell is then in quotes)");
}

// Excel, German: "CSV UTF-8 (durch Trennzeichen getrennt)" writes semicolons, decimal commas, a byte order
// mark and CR LF; without UTF-8 it is Windows-1252. A line "sep=;" is its own (RFC 4180 knows none).
TEST_CASE("CSV files of spreadsheets are read", "[csv]") {
  Files files;
  CHECK(files.read("x,y\r\n1.5,2\r\n3,-4\r\n") == two_rows);
  CHECK(files.read("x,y\r1.5,2\r3,-4\r") == two_rows);  // Macintosh
  CHECK(files.read("x,y\r\r1.5,2\r3,-4") == two_rows);
  CHECK(files.read("sep=;\r\nx;y\r\n1.5;2\r\n3;-4\r\n") == two_rows);
  CHECK(files.read("\xef\xbb\xbf\"sep=|\"\nx|y\n1.5|2\n3|-4\n") == two_rows);
  CHECK(files.read("sep=\t\nx\ty\n1.5\t2\n3\t-4\n") == two_rows);
  CHECK(files.read("x|y\n1.5|2\n3|-4\n") == two_rows);
  // Empty columns behind the last, of all lines or of the rows alone.
  CHECK(files.read("x,y,,\n1.5,2,,\n3,-4,,\n") == two_rows);
  CHECK(files.read("x;y\n1.5;2;\n3;-4;\n") == two_rows);
  CHECK(files.read("x,y\n1.5,2,\n3,-4,\n") == two_rows);
  CHECK(files.said("x,y\n1.5,2\n3,-4,\n") ==
        "t.csv:3: column 'y': 3 fields; expected 2, as in the header (a separator at the end of the line? of "
        "all rows, or of none)");
  files.options.dialect.decimal_comma = true;
  CHECK(files.read("\xef\xbb\xbfx;y;Gr\xc3\xb6\xc3\x9f"
                   "e (m)\r\n1,5;2;a\r\n3;-4,0;b\r\n") == two_rows);
  CHECK(files.read("x,y\r\n\"1,5\",\"2,0\"\r\n3,\"-4\"\r\n") == two_rows);
  files.options.inputs = {"y"};
  CHECK(files.read("y\n1,5\n3,0\n").x == std::vector<double>{1.5, 3});  // one column has no separator
  files.options.inputs = {"x"};
  files.options.dialect = {};
  CHECK(files.said("x;y;Gr\xf6\xdf"
                   "e\r\n1.5;2;a\r\n") ==
        "t.csv:1: column 'Gr\\xF6\\xDFe': text in another encoding; expected UTF-8: iconv -f windows-1252 -t "
        "utf-8");
  CHECK(files.said(std::string("\xff\xfex\0,\0y\0\n\0", 10)) ==
        "t.csv: text in UTF-16; expected text in rows: UTF-8: iconv -f utf-16 -t utf-8");
  CHECK_THAT(files.said(std::string("x\0,\0y\0\n\0", 8)),
             Catch::StartsWith("t.csv:1: holds bytes of 0; expected text in UTF-8"));
  CHECK(files.said("x,y\n#N/A,2\n") ==
        "t.csv:2: column 'x': '#N/A'; expected a finite number (a missing value: leave the row out, or fill "
        "it in)");
  CHECK(
      files.said("x,y\n#DIV/0!,2\n") ==
      "t.csv:2: column 'x': '#DIV/0!'; expected a finite number (an error of a spreadsheet: mend the cell)");
}

TEST_CASE("the separator is the one that parts the first two lines alike", "[csv]") {
  Files files;
  CHECK(files.read("x,y,of (a;b)\n1.5,2,7\n3,-4,8\n") == two_rows);
  CHECK(files.read("the time,x,y\n0,1.5,2\n1,3,-4\n") == two_rows);
  CHECK(files.read("\"x;y\",x,y\n0,1.5,2\n1,3,-4\n") == two_rows);
  CHECK(files.read("x\ty\tan, other\n1.5\t2\ta\n3\t-4\tb\n") == two_rows);
  CHECK(files.read("x, y\n1.5, 2\n3, -4\n") == two_rows);
  CHECK(files.read("x  y\n1.5 \t2 \n  3\t-4\n") == two_rows);
  files.options.dialect.separator = ';';
  CHECK(files.said("x,y\n1.5,2\n") ==
        "t.csv:1: column 'x': not there; the columns are 'x,y' (another separator "
        "than the one given?)");
}

TEST_CASE("CSV files packed by gzip are read, and damaged ones refused", "[csv]") {
  Files files;
  std::string rows;
  for (int i = 0; i < 40'000; ++i) rows += std::to_string(i) + ".5," + std::to_string(-i) + "\n";  // 600 kB
  files.options.train = files.write_packed("t.csv.gz", {"x,y\n" + rows});
  Found found = files.found();
  REQUIRE(found.x.size() == 40'000);
  CHECK(found.x[39'999] == 39999.5);
  CHECK(found.y[39'999] == -39999);
  // Two members one after another are one file (RFC 1952), wherever the first one ends.
  files.options.train = files.write_packed("two.csv.gz", {"x,y\n1.5,", "2\n3,-4\n"});
  CHECK(files.found() == two_rows);
  // The name does not matter.
  files.options.train = files.write_packed("t.csv", {"x;y\r\n1.5;2\r\n3;-4"});
  CHECK(files.found() == two_rows);
  const std::string whole = [&] {
    std::ifstream file(files.write_packed("whole.gz", {"x,y\n" + rows}), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  files.options.train = files.write("cut.csv.gz", whole.substr(0, whole.size() - 9));
  CHECK(files.said() == "cut.csv.gz: damaged gzip data: the compressed stream ends early");
  std::string wrong = whole;
  wrong[wrong.size() / 2] = static_cast<char>(wrong[wrong.size() / 2] ^ 0x10);
  files.options.train = files.write("wrong.csv.gz", wrong);
  CHECK_THAT(files.said(), Catch::StartsWith("wrong.csv.gz"));
  files.options.train = files.write_packed("twice.csv.gz", {whole});
  CHECK(files.said() == "twice.csv.gz: packed by gzip twice; expected text in rows: packed once");
}

TEST_CASE("numbers in cells are what they say, or refused with what they seem to be", "[csv]") {
  Files files;
  const auto number = [&](const std::string& cell) { return files.read("x;y\n" + cell + ";1\n").x[0]; };
  CHECK(number("+1e+05") == 1e5);
  CHECK(number("1E5") == 1e5);
  CHECK(number("-.5") == -0.5);
  CHECK(number("5.") == 5);
  CHECK(number("\" 7 \"") == 7);
  CHECK(number("1e-400") == 0);  // nearer to 0 than any double
  CHECK(number("4.9e-324") > 0);
  CHECK(number("1.7976931348623157e308") == 1.7976931348623157e308);
  const auto hint = [&](const std::string& cell) {
    const std::string text = files.said("x;y\n" + cell + ";1\n"),
                      start = "t.csv:2: column 'x': '" + cell + "'; expected a finite number (";
    CAPTURE(text);
    REQUIRE(text.starts_with(start));
    REQUIRE(text.ends_with(")"));
    return text.substr(start.size(), text.size() - start.size() - 1);
  };
  const std::string missing = "a missing value: leave the row out, or fill it in";
  for (const char* cell :
       {"NA", "nan", "NaN", "-nan", "n/a", "NULL", "None", "?", "-", ".", "<NA>", "1.#IND"})
    CHECK(hint(cell) == missing);
  CHECK(hint("0,5") == "a decimal comma? then decimal_comma = true");
  CHECK(hint("1,234") ==
        "a decimal comma? then decimal_comma = true; a comma of thousands? they are not parted");
  for (const char* cell : {"1,234.5", "12,345,678", "1.234,5", "12 000", "1'000",
                           "1\xc2\xa0"
                           "000",
                           "1\xe2\x80\xaf"
                           "000"})
    CHECK(hint(cell) == "thousands are not parted: 1234567.5");
  CHECK(hint("1e999") == "too large: numbers end at 1.8e+308");
  CHECK(hint("-inf") == "an infinity: no level stands for it");
  CHECK(hint("12%") == "a percentage? the number alone, 0.12 or 12, without '%'");
  for (const char* cell :
       {"2024-01-31", "31.1.2024", "1/31/24", "12:30", "2024-01-31T12:30:00Z", "2024-01-31 12:30"})
    CHECK(hint(cell) == "a date or a time? write it as a number, such as days");
  CHECK(hint("1.5 mV") == "a unit or a text behind the number? the number alone");
  CHECK(hint("1.5D+03") == "an exponent of Fortran? write E for D");
  CHECK(hint("0x1F") == "hexadecimal? expected decimal");
  CHECK(hint("<0.01") == "a sign before the number? the number alone");
  CHECK(hint("\xe2\x88\x92"
             "5") == "another sign than the minus '-'");
  CHECK(hint("yes") == "a truth value? write 1 and 0");
  CHECK(hint("blue") == "a text? leave its column out of 'inputs'");
  CHECK(files.said("x,y\n1,blue\n") ==
        "t.csv:2: column 'y': 'blue'; expected a finite number (a label? then "
        "'classes' says how many there are)");
  // A cell is shown on one line, and not at length.
  CHECK(files.said("x,y\n\"a\nb\tc\x01\",1\n") ==
        "t.csv:2: column 'x': 'a\\nb\\tc\\x01'; expected a finite number (a text? leave its column out of "
        "'inputs')");
  CHECK(files.said("x,y\n" + std::string(500, 'a') + ",1\n").size() < 200);
  files.options.dialect.decimal_comma = true;
  CHECK(number("-0,5e-1") == -0.05);
  CHECK(hint("0.5") == "a decimal point; decimal_comma = true expects 0,5");
  CHECK(hint("1.234,5") == "thousands are not parted: 1234567.5");
}

TEST_CASE("files that are no CSV files are named", "[csv]") {
  Files files;
  const auto kind = [&](const std::string& bytes) {
    const std::string text = files.said(bytes);
    REQUIRE(text.starts_with("t.csv: "));
    return text.substr(7, text.find(';') - 7);
  };
  CHECK(kind(std::string("PK\x03\x04\x14\0\x06\0", 8)) == "a ZIP archive, as .xlsx and .ods are");
  CHECK(kind("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") == "an Excel workbook (.xls)");
  CHECK(kind("<!DOCTYPE html>\n<html>") == "a web page");
  CHECK(kind("version https://git-lfs.github.com/spec/v1\n") == "what Git LFS puts in place of a file");
  CHECK(kind("\x89HDF\r\n\x1a\n") == "an HDF5 file");
  CHECK(kind("\x93NUMPY\x01") == "an array of numpy (.npy)");
  CHECK(kind("PAR1\x15") == "a Parquet file");
  CHECK(kind("[{\"x\": 1}]") == "JSON");
  CHECK(kind("BZh91AY") == "packed by bzip2");
  CHECK(kind("") == "empty");
  CHECK(kind("\n\n  \n") == "empty");
  CHECK(kind("# of 1 December\n") == "no line but comments");
  files.options.train = files.folder();
  CHECK_THAT(files.said(), Catch::EndsWith(": a directory; expected a CSV file"));
  // A line without an end is read in a time that grows with its length alone.
  const std::string long_line(32 << 20, '7');
  CHECK_THAT(files.said("x,y\n" + long_line), Catch::StartsWith("t.csv:2: column 'y': 1 field; expected 2"));
}

TEST_CASE("columns that are not there are answered with those that are", "[csv]") {
  Files files;
  CHECK(files.said("xx,y,z\n1,2,3\n") == "t.csv:1: column 'x': not there; the columns are 'xx', 'y', 'z'");
  files.options.inputs = {"sepal_lenght"};
  CHECK_THAT(files.said("sepal_length,y\n1,2\n"), Catch::EndsWith("(did you mean 'sepal_length'?)"));
  files.options.inputs = {"x"};
  std::string header = "c0", row = "0";
  for (int i = 1; i < 1000; ++i) header += ",c" + std::to_string(i), row += ",0";
  CHECK_THAT(files.said(header + "\n" + row + "\n"),
             Catch::Contains("'c0', 'c1'") && Catch::Contains("'c11' and 988 more"));
  files.options.dialect.header = false;
  CHECK_THAT(files.said("1,2\n"),
             Catch::EndsWith("(header = false: the columns are named by their numbers)"));
  files.options.dialect.header = true;
  CHECK(files.said("x,y\n1,2\n3\n") == "t.csv:3: column 'y': 1 field; expected 2, as in the header");
  CHECK(files.said("x,y\n1,2\nsum of all\n") ==
        "t.csv:3: column 'y': 1 field; expected 2, as in the header (a line that is no row? rows alone may "
        "follow the header)");
  CHECK(files.said("x,y\n1,\"2\n3,4\n5,6\n") ==
        "t.csv:2: a quote is not closed; expected '\"' before the end of the file");
  CHECK(files.said("x,y\n1,\"2\" 3\n") == "t.csv:2: '3' behind a closed quote; expected ','");
  files.options.inputs = {"all"};
  CHECK_THAT(files.said("y\n1\n"), Catch::Contains("no column is left"));
}

TEST_CASE("targets may be in a file of their own, row by row", "[csv]") {
  Files files;
  files.options.train = files.write("x.csv", "x z\n1.5 7\n3 8\n");
  files.options.train_targets = files.write("y.csv", "y\n\n2\n-4\n");
  files.options.inputs = {"all"};
  const Task task = csv_task(files.options, 0, 1);
  CHECK(task.train.inputs->width() == 2);
  CHECK(task.train.target(1)[0] == -4);
  CHECK_THAT(task.train.where(1), Catch::EndsWith("x.csv:3"));
  CHECK_THAT(task.train.where_target(1), Catch::EndsWith("y.csv:4"));
  files.write("y.csv", "y\n2\n");
  CHECK_THAT(files.said(), Catch::StartsWith("y.csv: ends after 1 rows; expected as many as in "));
  files.write("y.csv", "y\n2\n3\n4\n");
  CHECK_THAT(files.said(), Catch::StartsWith("y.csv: more than 2 rows; expected as many as in "));
  files.write("y.csv", "y\n2\nfour\n");
  CHECK_THAT(files.said(), Catch::StartsWith("y.csv:3: column 'y': 'four'; expected a finite number"));
  // Without names: both have a column '1'.
  files.options.dialect.header = false;
  files.options.targets = {"1"};
  files.write("x.csv", "1.5\t7\n3\t8\n");
  files.write("y.csv", "2.000e+00\n-4.000e+00\n");
  const Task nameless = csv_task(files.options, 0, 1);
  CHECK(nameless.train.origin->inputs == Names{"1", "2"});
  CHECK(nameless.train.pattern(0).levels()[0] == 1.5);
  CHECK(nameless.train.target(0)[0] == 2);
  files.options.test = files.options.train;
  CHECK_THROWS_AS(csv_task(files.options, 0, 1), std::invalid_argument);
}

TEST_CASE("labels are texts or numbers, and none is taken for another", "[csv]") {
  Files files;
  const auto classes_of = [&](const std::string& bytes, std::uint32_t classes) {
    files.options.train = files.write("t.csv", bytes);
    const Task task = csv_task(files.options, classes, 1);
    std::vector<double> of;
    for (std::uint64_t i = 0; i < task.train.size(); ++i) of.push_back(task.train.target(i)[0]);
    return of;
  };
  using Classes = std::vector<double>;
  CHECK(classes_of("x,y\n0,1.0\n0,0\n", 2) == Classes{1, 0});  // pandas writes 1.0 where values are missing
  files.options.learned.labels = {"2", "1"};
  CHECK(classes_of("x,y\n0,1.0\n0,02\n", 2) == Classes{1, 0});
  files.options.learned.labels = {};
  CHECK(files.said("x,y\n0,1\n0,2\n", 2) ==
        "t.csv:3: column 'y': 2; expected a class, a whole number below 2 (other labels are named, class 0 "
        "first: labels = [\"1\", \"2\"])");
  CHECK(files.said("x,y\n0,1\n0,NA\n", 2) ==
        "t.csv:3: column 'y': 'NA'; expected a class, a whole number below 2 (a missing value: leave the row "
        "out, or fill it in)");
  CHECK(files.said("x,y\n0,a\n0,\n", 2) ==
        "t.csv:3: column 'y': ''; expected a label (a missing value: leave the row out, or fill it in)");
  CHECK(files.said("x,y\n0,a\n0,b\n0,c\n", 2) ==
        "t.csv: column 'y': 3 labels, 'a', 'b', 'c'; expected as many as classes = 2");
  CHECK_THAT(files.said("x,y\n0,a\n0,gr\xfcn\n", 2),
             Catch::StartsWith("t.csv:3: column 'y': 'gr\\xFCn': text in another"));
  CHECK(files.said("x,y\n0,0.5\n", 2) ==
        "t.csv:2: column 'y': 0.5; expected a class, a whole number below 2");
}

TEST_CASE("what is standardised is learned on the training part alone, whatever makes the others", "[csv]") {
  Files files;
  std::string text = "x,y\n";
  for (int i = 0; i < 60; ++i) text += std::to_string(i * i) + "," + std::to_string(i) + "\n";
  files.options.train = files.write("t.csv", text);
  files.options.standardise = true;
  const auto learned_on_train = [&] {
    CsvLearned learned;
    const Task task = csv_task(files.options, 0, 1, &learned);
    REQUIRE(learned.standard.size() == 1);
    double sum = 0, squares = 0;
    for (std::uint64_t i = 0; i < task.train.size(); ++i) {
      const double level = task.train.pattern(i).levels()[0];
      sum += level, squares += level * level;
    }
    const auto n = static_cast<double>(task.train.size());
    // 60 numbers of about 1: rounding of 1e-15 each.
    CHECK(std::abs(sum) < 1e-12 * n);
    CHECK(std::abs(squares - n) < 1e-12 * n);
    return std::pair(task, learned);
  };
  const double all = learned_on_train().second.standard[0].first;
  files.options.validation = 20;
  files.options.validation_seed = 3;
  const auto [task, learned] = learned_on_train();
  CHECK(learned.standard[0].first != all);
  REQUIRE(task.validation.size() == 20);
  REQUIRE(task.train.size() == 40);
  // The same samples that split_off takes.
  Dataset whole = [&] {
    CsvOptions plain = files.options;
    plain.validation = 0;
    return csv_task(plain, 0, 1).train;
  }();
  const Dataset part = split_off(whole, 20, 3);
  CHECK(part.rows == task.validation.rows);
  CHECK(part.targets == task.validation.targets);
  CHECK(whole.rows == task.train.rows);
  files.options.test_share = 0.25;
  CHECK(learned_on_train().first.train.size() == 25);
  files.options.validation = 0;
  files.options.validation_share = 0.25;
  CHECK(learned_on_train().first.train.size() == 30);
  files.options.validation = 1;
  CHECK_THROWS_AS(csv_task(files.options, 0, 1), std::invalid_argument);
  files.options.validation_share = 0;
  files.options.validation = 45;
  CHECK_THROWS_AS(csv_task(files.options, 0, 1), std::length_error);
}

TEST_CASE("inputs that count the rows are known", "[csv]") {
  Files files;
  files.options.inputs = {"all"};
  std::string text = "Unnamed: 0,x,y\n";
  for (int i = 0; i < 10; ++i) text += std::to_string(i) + "," + std::to_string(0.5 * i) + ",1\n";
  files.options.train = files.write("t.csv", text);
  CHECK(csv_task(files.options, 0, 1).train.origin->counting == Names{"Unnamed: 0"});
}
