#include "lowrank/data/hub/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/blob_writer.h"

namespace lowrank::data::hub {
namespace {

using Clock = std::chrono::steady_clock;

// A server's answer does not fit what was asked for: the part is dropped and its file begun again.
struct Unusable {};

struct File;

// Bytes [begin, end) of a file, fetched by one connection at a time. Written straight on where it is the file's next,
// held in memory where those before it are still to come.
struct Part {
  File* file = nullptr;
  std::uint64_t begin = 0, end = 0, got = 0;
  std::uint64_t stop = 0;  // where the answer ends: at `end`, or earlier by its own word
  std::string held;
  std::string url;
  std::unique_ptr<Transfer> transfer;  // under way
  int tries = 0, hops = 0;
  Clock::time_point not_before{};
  bool looked_at = false;  // the answer's head was checked
  bool done() const { return got == end - begin; }
};

struct File {
  const RemoteFile* remote = nullptr;
  std::optional<core::SharedLock> lock;
  std::optional<BlobWriter> blob;  // from when it is begun on
  std::list<Part> parts;           // begun and not yet written whole, by place
  std::uint64_t next = 0;          // where the next part begins
  std::string url;                 // where its bytes are, once that is known
  bool in_parts = true;            // its server gives ranges, as far as is known
  bool again = false;              // it was begun anew once
  bool done = false;
  bool waited = false;             // for another process
  Clock::time_point not_before{};
};

class Download {
 public:
  Download(Client& client, const Store& store, const Repo& repo, const Listing& listing)
      : client_(client), store_(store), repo_(repo), listing_(listing) {}

  Downloaded run(const std::vector<RemoteFile>& files);

 private:
  std::string home_of(const File& file) const {
    return file_url(client_.settings(), repo_, listing_.commit, file.remote->path);
  }
  std::string doing(const File& file) const { return "download " + core::printable(file.remote->path, 120); }
  void begin(File& file);
  void require_room(const std::vector<RemoteFile>& files) const;
  Part* next_part(File& file);
  void start(Part& part);
  void take(Part& part, std::string_view bytes);
  void look_at(Part& part);
  void finished(Part& part);
  void written(File& file);
  void start_over(File& file, bool in_parts);
  void try_again(Part& part, const Transfer& over, const std::string& problem, int most);
  void fill();
  Part* part_of(const Transfer* over);

  Client& client_;
  const Store& store_;
  const Repo& repo_;
  const Listing& listing_;
  Downloaded result_;
  std::list<File> files_;  // its transfers end before the client's connections do
  std::uint64_t done_ = 0;
  int active_ = 0;
};

void Download::require_room(const std::vector<RemoteFile>& files) const {
  std::uint64_t needed = 0;
  for (const RemoteFile& file : files) {
    if (store_.has(file)) continue;
    std::error_code error;
    const std::uint64_t there = std::filesystem::file_size(store_.incomplete(file), error);
    needed += error || there > file.size ? file.size : file.size - there;
  }
  const std::uint64_t room = core::free_bytes(store_.folder());
  if (needed > room) {
    throw IoError(fmt::format("{} still needs {} in {}, where {} are free; make room, or {}", repo_.spelled(),
                              core::format_bytes(needed), store_.folder().string(), core::format_bytes(room),
                              store_.other_disk()));
  }
}

// Nothing happens where somebody else is fetching it: it is looked at again later.
void Download::begin(File& file) {
  const RemoteFile& remote = *file.remote;
  file.lock = store_.try_lock(remote);
  if (!file.lock) {
    if (!std::exchange(file.waited, true) && client_.observer() != nullptr) {
      client_.observer()->note(fmt::format("another process is downloading {}; waiting for it", remote.path));
    }
    file.not_before = Clock::now() + std::chrono::milliseconds(200);
    return;
  }
  if (store_.has(remote)) {  // meanwhile
    done_ += remote.size;
    file.lock.reset();
    file.done = true;
    return;
  }
  file.blob.emplace(store_, remote);
  result_.resumed += file.blob->resumed();
  done_ += file.blob->written();
  file.next = file.blob->written();
  file.url = "";
  if (file.next == remote.size) written(file);
}

Part* Download::next_part(File& file) {
  const Clock::time_point now = Clock::now();
  for (Part& part : file.parts) {
    if (part.transfer == nullptr && !part.done() && part.not_before <= now) return &part;
  }
  // One part alone until the server has shown where the bytes are and that it gives ranges.
  const bool open = file.parts.empty() || (!file.url.empty() && file.in_parts);
  const auto ahead = static_cast<std::size_t>(client_.settings().connections);
  if (!open || file.next >= file.remote->size || file.parts.size() >= ahead) return nullptr;
  Part& part = file.parts.emplace_back();
  part.file = &file;
  part.begin = file.next;
  part.end = file.in_parts ? std::min(file.remote->size, file.next + client_.settings().part_bytes) : file.remote->size;
  file.next = part.end;
  return &part;
}

void Download::start(Part& part) {
  const File& file = *part.file;
  if (part.url.empty()) part.url = file.url.empty() ? home_of(file) : file.url;
  Request request{.url = part.url, .headers = client_.headers_for(part.url)};
  request.headers.emplace_back("Accept-Encoding: identity");
  const std::uint64_t from = part.begin + part.got;
  if (from > 0 || part.end < file.remote->size) {
    request.headers.push_back(fmt::format("Range: bytes={}-{}", from, part.end - 1));
  }
  request.sink = [this, &part](std::string_view bytes) { take(part, bytes); };
  part.looked_at = false;
  part.transfer = std::make_unique<Transfer>(std::move(request));
  client_.connections().start(*part.transfer);
  ++active_;
}

// The head of an answer 2xx, before its first byte is used.
void Download::look_at(Part& part) {
  File& file = *part.file;
  const Response& response = part.transfer->response;
  const std::uint64_t from = part.begin + part.got;
  std::uint64_t last = std::numeric_limits<std::uint64_t>::max() - 1;
  if (response.status == 206) {
    const std::string range = response.header("content-range"), beginning = fmt::format("bytes {}-", from);
    if (!range.starts_with(beginning)) throw Unusable();
    std::from_chars(range.data() + beginning.size(), range.data() + range.size(), last);
    const std::size_t slash = range.find('/');
    const std::string whole = slash == range.npos ? "*" : range.substr(slash + 1);
    if (whole != "*" && whole != std::to_string(file.remote->size)) {
      throw IoError(fmt::format("cannot {}: the hub lists it with {} bytes, and {} has {}; nothing was taken", doing(file),
                                file.remote->size, shown_url(part.url), core::printable(whole, 20)));
    }
  } else if (from > 0) {
    throw Unusable();  // the server gives no ranges
  } else if (part.end < file.remote->size) {
    file.in_parts = false;
    part.end = file.next = file.remote->size;
  }
  part.stop = std::min(part.end, std::max(last, from) + 1);
  file.url = part.url;
  part.hops = 0;
  part.looked_at = true;
}

void Download::take(Part& part, std::string_view bytes) {
  File& file = *part.file;
  if (!part.looked_at) look_at(part);
  if (bytes.size() > part.stop - part.begin - part.got) {
    const std::string limit = part.stop < file.remote->size ? fmt::format("its answer was to end at byte {}", part.stop)
                                                             : fmt::format("the hub lists {} bytes", part.stop);
    throw IoError(fmt::format("cannot {}: {} sends too much: {}", doing(file), shown_url(part.url), limit));
  }
  if (part.begin + part.got == file.blob->written()) {
    file.blob->write(bytes);
  } else {
    part.held += bytes;
  }
  part.got += bytes.size();
  part.tries = 0;
  done_ += bytes.size();
  result_.bytes += bytes.size();
}

void Download::start_over(File& file, bool in_parts) {
  if (file.again) {
    throw IoError(fmt::format("cannot {}: {} does not give the bytes that it is asked for", doing(file),
                              shown_url(home_of(file))));
  }
  for (const Part& part : file.parts) {
    done_ -= part.held.size();
    if (part.transfer != nullptr) --active_;
  }
  done_ -= file.blob->written();
  file.parts.clear();
  file.blob->start_over();
  file.next = 0;
  file.url = "";
  file.in_parts = in_parts;
  file.again = true;
}

void Download::written(File& file) {
  const bool resumed = file.blob->resumed() > 0;
  if (file.blob->finish()) {
    ++result_.files;
    file.blob.reset();
    file.lock.reset();
    file.done = true;
    return;
  }
  if (resumed && !file.again) {  // what an earlier download left may be what is wrong
    start_over(file, true);
    return;
  }
  throw IoError(fmt::format("{} came with other bytes than the hub lists for it (its {} is not {}), and was not kept; try "
                            "again, and without a mirror or proxy where there is one",
                            core::printable(file.remote->path, 120), file.remote->large() ? "SHA-256" : "SHA-1 as git takes it",
                            file.remote->hash));
}

void Download::try_again(Part& part, const Transfer& over, const std::string& problem, int most) {
  part.url = "";
  if (over.failure.lasting || ++part.tries >= most) {
    if (problem.empty()) throw_status(client_, repo_, over.response, doing(*part.file));
    throw IoError(fmt::format("cannot {}: {}: {}; the same command goes on from what is here", doing(*part.file),
                              shown_url(over.request.url), core::printable(problem, 200)));
  }
  const double seconds = client_.wait_before(part.tries, over.response, doing(*part.file));
  part.not_before = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void Download::finished(Part& part) {
  File& file = *part.file;
  --active_;
  const std::unique_ptr<Transfer> over = std::move(part.transfer);
  if (over->thrown) {
    try {
      std::rethrow_exception(over->thrown);
    } catch (const Unusable&) {
      return start_over(file, false);
    }
  }
  const Settings& settings = client_.settings();
  const long status = over->response.status;
  if (part.done()) {
    while (!file.parts.empty() && file.parts.front().begin <= file.blob->written()) {
      Part& front = file.parts.front();
      if (!front.held.empty()) file.blob->write(std::exchange(front.held, {}));
      if (!front.done()) break;
      file.parts.pop_front();
    }
    if (file.blob->written() == file.remote->size) written(file);
  } else if (!over->failure.text.empty()) {
    try_again(part, *over, over->failure.text, over->failure.no_answer ? 3 : settings.tries);
  } else if (status >= 200 && status < 300) {
    try_again(part, *over, "the answer ended before its end", settings.tries);
  } else if (status >= 300 && status < 400) {
    if (++part.hops > 10) throw IoError(fmt::format("cannot {}: {} redirects without end", doing(file), shown_url(part.url)));
    part.url = redirect_of(part.url, over->response);
  } else if (status == 416) {
    start_over(file, false);
  } else if (is_passing(status)) {
    try_again(part, *over, "", settings.tries);
  } else if (!same_origin(part.url, settings.endpoint) && ++part.tries < settings.tries) {
    file.url = part.url = "";  // a signed address has run out: the hub gives another
  } else {
    throw_status(client_, repo_, over->response, doing(file));
  }
}

void Download::fill() {
  for (File& file : files_) {
    if (active_ >= client_.settings().connections) return;
    if (file.done || file.not_before > Clock::now()) continue;
    if (!file.blob) begin(file);
    if (!file.blob) continue;
    while (active_ < client_.settings().connections) {
      Part* const part = next_part(file);
      if (part == nullptr) break;
      start(*part);
    }
  }
}

// Nothing where its file was begun anew meanwhile.
Part* Download::part_of(const Transfer* over) {
  for (File& file : files_) {
    for (Part& part : file.parts) {
      if (part.transfer.get() == over) return &part;
    }
  }
  return nullptr;
}

Downloaded Download::run(const std::vector<RemoteFile>& files) {
  require_room(files);
  std::uint64_t total = 0;
  std::vector<std::filesystem::path> seen;
  for (const RemoteFile& remote : files) {
    if (std::find(seen.begin(), seen.end(), store_.place(remote)) != seen.end()) continue;  // the same bytes by two names
    seen.push_back(store_.place(remote));
    if (store_.has(remote)) continue;
    files_.emplace_back().remote = &remote;
    total += remote.size;
  }
  if (files_.empty()) return result_;
  const core::ProgressScope progress(client_.observer(), "downloading " + repo_.id, static_cast<std::int64_t>(total),
                                     "bytes");
  const auto all_done = [&] { return std::all_of(files_.begin(), files_.end(), [](const File& f) { return f.done; }); };
  while (!all_done()) {
    progress.advance(static_cast<std::int64_t>(done_));
    fill();
    for (const Transfer* over : client_.connections().wait(100)) {
      if (Part* const part = part_of(over)) finished(*part);
    }
  }
  return result_;
}

}  // namespace

Downloaded download(Client& client, const Store& store, const Repo& repo, const Listing& listing,
                    const std::vector<RemoteFile>& files) {
  return Download(client, store, repo, listing).run(files);
}

}  // namespace lowrank::data::hub
