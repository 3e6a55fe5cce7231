#include "ness/core/digest.hpp"

#include <cstring>
#include <thread>

#include "digest_of_parts.hpp"
#include "log_fixture.hpp"

using namespace log_test;

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

// Published values: xxHash's reference implementation; FIPS 180-4's examples; the check value of the CRC catalogue.
TEST_CASE("digests are XXH3 of 64 bits") {
  CHECK(digest(bytes("")) == 0x2D06800538D394C2);
  CHECK(digest(bytes("a")) == 0xE6C632B61E964E1F);
  CHECK(digest(bytes("abc")) == 0x78AF5F94892F3950);
}

TEST_CASE("a vector's digest is that of its bytes, so that zeros of either sign and NaNs differ") {
  const Vector values = vector_of({1, -0.0, odd_nan()});
  std::string copy(24, '\0');
  std::memcpy(copy.data(), values.data(), 24);
  CHECK(digest(values) == digest(bytes(copy)));
  CHECK(digest(vector_of({0.0})) != digest(vector_of({-0.0})));
  CHECK(digest(vector_of({odd_nan()})) != digest(vector_of({std::numeric_limits<double>::quiet_NaN()})));
  CHECK(digest(vector_of({1, 2})) != digest(vector_of({2, 1})));
}

TEST_CASE("a digest is the same however its values come: in pieces, in parts made in any order, on several threads") {
  // As long as several of XXH3's stripes, and not a multiple of a part.
  Vector values(1003);
  for (Eigen::Index i = 0; i < values.size(); ++i) values[i] = std::sqrt(static_cast<double>(i)) - 7;
  const std::span all(values.data(), 1003);
  Digester pieces;
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 1}, {1, 500}, {500, 1003}}) pieces.add(all.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
  CHECK(pieces.value() == digest(values));
  CHECK(Digester().value() == digest(Vector()));

  DigestOfParts backwards(values, 100), forwards(values, 100), one(values, 2000);
  for (std::size_t k = 11; k-- > 0;) backwards.made(k);
  for (std::size_t k = 0; k < 11; ++k) forwards.made(k);
  one.made(0);
  CHECK(backwards.value() == digest(values));
  CHECK(forwards.value() == digest(values));
  CHECK(one.value() == digest(values));

  for (int round = 0; round < 20; ++round) {
    DigestOfParts together(values, 10);
    const auto every_other = [&](std::size_t first) {
      for (std::size_t k = first; k < 101; k += 2) together.made(k);
    };
    std::thread odd(every_other, 1);
    every_other(0);
    odd.join();
    CHECK(together.value() == digest(values));
  }
}

TEST_CASE("SHA-256 of a file") {
  const Folder folder;
  write_bytes(folder / "empty", "");
  write_bytes(folder / "abc", "abc");
  write_bytes(folder / "million", std::string(1'000'000, 'a'));
  CHECK(sha256_of_file(folder / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of_file(folder / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_of_file(folder / "million") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 of what cannot be read says which file and why") {
  const Folder folder;
  const std::string missing = message_of<FileError>([&] { sha256_of_file(folder / "none"); });
  CHECK_THAT(missing, Catch::Contains(folder / "none") && Catch::Contains("No such file"));
  const std::string directory = message_of<FileError>([&] { sha256_of_file(folder / ""); });
  CHECK_THAT(directory, Catch::Contains(folder / "") && Catch::Contains("directory"));
}

TEST_CASE("CRC-32 is zlib's, and continues") {
  CHECK(crc32(bytes("123456789")) == 0xCBF43926);
  CHECK(crc32(bytes("56789"), crc32(bytes("1234"))) == 0xCBF43926);
  CHECK(crc32({}) == 0);
}
