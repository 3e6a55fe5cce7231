#include "ness/core/digest.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include <openssl/evp.h>
#include <libdeflate.h>
#include <xxhash.h>

#include "ness/core/error.hpp"

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

std::uint64_t digest(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::uint64_t digest(const VectorView& values) {
  return XXH3_64bits(values.data(), static_cast<std::size_t>(values.size()) * sizeof(double));
}

struct Digester::State {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> of{XXH3_createState(), &XXH3_freeState};
};
Digester::Digester() : state_(std::make_unique<State>()) {
  if (!state_->of) throw std::bad_alloc();
  XXH3_64bits_reset(state_->of.get());
}
Digester::~Digester() = default;
void Digester::add(std::span<const double> values) { XXH3_64bits_update(state_->of.get(), values.data(), values.size_bytes()); }
std::uint64_t Digester::value() const { return XXH3_64bits_digest(state_->of.get()); }

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
  if (std::ferror(file.get()) != 0) {  // a directory opens, and fails here
    throw FileError("cannot read " + path + ": " + std::strerror(errno));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> result;
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), result.data(), &size);
  return hexadecimal({result.data(), size});
}

std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace ness
