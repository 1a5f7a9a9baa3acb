// Hashes of bytes that come in pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's

namespace lowrank::core {

/// Git and the hub name small files by SHA-1, large ones by SHA-256. SHA-1 is no defence against whoever made the file:
/// it tells a download that went wrong.
enum class DigestKind { kSha256, kSha1 };

class Digest {
 public:
  explicit Digest(DigestKind kind);
  void add(std::string_view bytes);
  /// Lower-case hex of all that was added; nothing more is to be added afterwards.
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

}  // namespace lowrank::core
