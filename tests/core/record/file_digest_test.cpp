#include "ness/record/file_digest.hpp"

#include <span>

#include "crc32.hpp"
#include "support.hpp"

using namespace support;

// Published values: examples of FIPS 180-4; the check value in the CRC catalogue.
TEST_CASE("SHA-256 of a file") {
  const Folder folder;
  write_bytes(folder / "empty", "");
  write_bytes(folder / "abc", "abc");
  write_bytes(folder / "million", std::string(1'000'000, 'a'));
  CHECK(sha256_of_file(folder / "empty") ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of_file(folder / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_of_file(folder / "million") ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 of what cannot be read says which file and why") {
  const Folder folder;
  const std::string missing = message_of<FileError>([&] { sha256_of_file(folder / "none"); });
  CHECK_THAT(missing, Catch::Contains(folder / "none") && Catch::Contains("No such file"));
  const std::string directory = message_of<FileError>([&] { sha256_of_file(folder / ""); });
  CHECK_THAT(directory, Catch::Contains(folder / "") && Catch::Contains("directory"));
}

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("CRC-32 is zlib's, and continues") {
  CHECK(crc32(bytes("123456789")) == 0xCBF43926);
  CHECK(crc32(bytes("56789"), crc32(bytes("1234"))) == 0xCBF43926);
  CHECK(crc32({}) == 0);
}
