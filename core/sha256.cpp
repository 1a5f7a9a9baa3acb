#include <openssl/evp.h>

#include <vector>

#include "lowrank/core/digest.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"

namespace lowrank::core {

namespace {

void check(bool ok) {
  if (!ok) throw InternalError("a hash failed in OpenSSL");
}

}  // namespace

Digest::Digest(DigestKind kind) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  const EVP_MD* const how = kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1();
  check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), how, nullptr) == 1);
}

void Digest::add(std::string_view bytes) { check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1); }

std::string Digest::hex() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  check(EVP_DigestFinal_ex(context_.get(), bytes, &size) == 1);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += {"0123456789abcdef"[bytes[i] >> 4], "0123456789abcdef"[bytes[i] & 15]};
  }
  return out;
}

std::string sha256(std::string_view bytes) {
  Digest digest(DigestKind::kSha256);
  digest.add(bytes);
  return digest.hex();
}

std::string sha256_file(const FileRef& file) {
  InputFile input(file);
  Digest digest(DigestKind::kSha256);
  std::vector<char> buffer(std::size_t{1} << 18);
  while (const std::size_t n = input.read(buffer)) digest.add({buffer.data(), n});
  return digest.hex();
}

}  // namespace lowrank::core
