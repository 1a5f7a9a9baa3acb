#include "lowrank/data/line_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/sniff.h"

namespace lowrank::data {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 16;
constexpr std::string_view kBom = "\xef\xbb\xbf";

}  // namespace

LineReader::LineReader(std::filesystem::path file, std::uint64_t max_line_bytes)
    : file_(std::move(file)), max_line_bytes_(max_line_bytes), buffer_(new char[kBufferBytes]) {
  fd_ = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) {
    if (errno == ENOENT) throw MissingError("no such file: " + file_.string());
    throw IoError("cannot open " + file_.string() + ": " + std::strerror(errno));
  }
  try {
    refill();
    refuse_foreign_bytes({buffer_.get(), end_}, file_.string());
  } catch (...) {
    ::close(fd_);
    throw;
  }
  had_bom_ = std::string_view(buffer_.get(), end_).starts_with(kBom);
  if (had_bom_) begin_ = kBom.size();
  bytes_read_ = begin_;
}

LineReader::~LineReader() { ::close(fd_); }

bool LineReader::refill() {
  begin_ = end_ = 0;
  ssize_t n;
  do {
    n = ::read(fd_, buffer_.get(), kBufferBytes);
  } while (n < 0 && errno == EINTR);
  if (n < 0) throw IoError("cannot read " + file_.string() + ": " + std::strerror(errno));
  end_ = static_cast<std::size_t>(n);
  return n > 0;
}

bool LineReader::next(std::string_view& line) {
  line_.clear();
  bool any = false, complete = false;
  while (!complete && (begin_ < end_ || refill())) {
    any = true;
    const char* first = buffer_.get() + begin_;
    const void* lf = std::memchr(first, '\n', end_ - begin_);
    complete = lf != nullptr;
    const std::size_t n = complete ? static_cast<std::size_t>(static_cast<const char*>(lf) - first) : end_ - begin_;
    if (line_.size() + n > max_line_bytes_) {
      throw DataError(file_.string() + " line " + std::to_string(line_number_ + 1) + " is longer than " +
                      core::format_bytes(max_line_bytes_) + "; a row belongs on a line of its own");
    }
    line_.append(first, n);
    begin_ += n + complete;
    bytes_read_ += n + complete;
  }
  if (!any) return false;
  ++line_number_;
  if (line_.ends_with('\r')) {
    line_.pop_back();
    had_crlf_ = true;
  }
  line = line_;
  return true;
}

}  // namespace lowrank::data
