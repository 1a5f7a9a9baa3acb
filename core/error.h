// The errors of the library. A message is one sentence: what happened, where (file, line, tensor), what was expected
// and found, how to mend it. The library throws these and never prints or exits; the app maps kinds to exit codes.
#pragma once

#include <stdexcept>
#include <string>

namespace lowrank {

enum class ErrorKind {
  kConfig,    // an option or one of our own config files is wrong                  exit 2
  kData,      // a corpus, an example or a row is wrong                             exit 65
  kFormat,    // a file's bytes break its format (safetensors, JSON, tokenizer)     exit 65
  kModel,     // a model or an adapter cannot be what it says it is                 exit 65
  kMissing,   // an input does not exist                                            exit 66
  kIo,        // reading, writing, space, permissions, locks                        exit 74
  kInternal,  // our own mistake                                                    exit 70
};

/// Base of all errors that the library throws on purpose.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& m) : Error(ErrorKind::kConfig, m) {}
};
struct DataError : Error {
  explicit DataError(const std::string& m) : Error(ErrorKind::kData, m) {}
};
struct FormatError : Error {
  explicit FormatError(const std::string& m) : Error(ErrorKind::kFormat, m) {}
};
struct ModelError : Error {
  explicit ModelError(const std::string& m) : Error(ErrorKind::kModel, m) {}
};
struct MissingError : Error {
  explicit MissingError(const std::string& m) : Error(ErrorKind::kMissing, m) {}
};
struct IoError : Error {
  explicit IoError(const std::string& m) : Error(ErrorKind::kIo, m) {}
};
struct InternalError : Error {
  explicit InternalError(const std::string& m) : Error(ErrorKind::kInternal, m) {}
};

}  // namespace lowrank
