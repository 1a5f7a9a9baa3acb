#include <openssl/evp.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

namespace {

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  void add(const void* data, std::size_t size) { check(EVP_DigestUpdate(context_.get(), data, size) == 1); }
  std::string hex() {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    check(EVP_DigestFinal_ex(context_.get(), bytes, &size) == 1);
    std::string out;
    for (unsigned int i = 0; i < size; ++i) {
      out += {"0123456789abcdef"[bytes[i] >> 4], "0123456789abcdef"[bytes[i] & 15]};
    }
    return out;
  }

 private:
  static void check(bool ok) {
    if (!ok) throw InternalError("SHA-256 failed in OpenSSL");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Digest digest;
  digest.add(bytes.data(), bytes.size());
  return digest.hex();
}

std::string sha256_file(const fs::path& file) {
  const Descriptor fd(open_regular(file));
  Digest digest;
  std::vector<char> buffer(std::size_t{1} << 18);
  while (true) {
    const ssize_t n = uninterrupted([&] { return ::read(fd.get(), buffer.data(), buffer.size()); });
    if (n < 0) throw_errno("read", file, errno);
    if (n == 0) return digest.hex();
    digest.add(buffer.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace lowrank::core
