#include "ness/record/file_digest.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>

#include <openssl/evp.h>

#include "ness/device/error.hpp"

namespace ness {
namespace {

std::string hexadecimal(std::span<const unsigned char> bytes) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace

std::string sha256_of_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) {
    throw FileError("cannot read " + path + ": " + std::strerror(errno));
  }
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    throw FileError("cannot digest " + path + ": OpenSSL offers no SHA-256");
  }
  std::array<unsigned char, 1 << 16> block;
  std::size_t n = 0;
  while ((n = std::fread(block.data(), 1, block.size(), file.get())) > 0) {
    EVP_DigestUpdate(context.get(), block.data(), n);
  }
  if (std::ferror(file.get()) != 0) {  // opening a directory succeeds; reading it fails here
    throw FileError("cannot read " + path + ": " + std::strerror(errno));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> result;
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), result.data(), &size);
  return hexadecimal({result.data(), size});
}

}  // namespace ness
