// The one way to open a file for reading: a regular file, beneath the folder that it belongs to.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/file_ref.h"
#include "lowrank/core/system.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

constexpr int kMostLinks = 40;  // as the kernel's own walk

std::atomic<bool> links_followed{false};

struct Place {
  fs::path root;  // free of links
  fs::path name;  // beneath it
};

bool is_cache_entry(const std::string& name) {
  return name.starts_with("models--") || name.starts_with("datasets--") || name.starts_with("spaces--");
}

// The folder that what stands in `folder` may not lead out of: itself, or its entry in a Hugging Face cache
// (models--ORG--NAME/snapshots/REV, whose files are links to blobs of that entry).
Place place_of(const fs::path& folder, const fs::path& file) {
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  if (error) throw_errno("open", file, error.value());
  for (fs::path at = real; at.has_relative_path(); at = at.parent_path()) {
    const fs::path snapshots = at.parent_path(), entry = snapshots.parent_path();
    if (snapshots.filename() == "snapshots" && is_cache_entry(entry.filename().string())) {
      return {entry, real.lexically_relative(entry)};
    }
  }
  return {real, "."};
}

// What the folder's word on `file` amounts to; an empty name when it is outside by its very spelling.
Place place_of(const FileRef& file) {
  const fs::path holder = parent_of(file.path());
  if (file.root().empty()) {
    Place place = place_of(holder, file.path());
    place.name /= file.path().filename();
    return place;
  }
  Place place = place_of(file.root(), file.path());
  const fs::path below =
      fs::absolute(file.path()).lexically_normal().lexically_relative(fs::absolute(file.root()).lexically_normal());
  place.name = below.empty() || *below.begin() == ".." ? fs::path() : place.name / below;
  return place;
}

bool is_hex(const std::string& text, std::size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// huggingface_hub 2.4 keeps the bytes of some blobs once for all entries of a cache, in CACHE/blobs/NN/HASH, and blobs of
// entries are links to those. Where `file` is such a one, its place beneath CACHE; else an empty name.
Place shared_place(const Place& place, const fs::path& file) {
  if (!is_cache_entry(place.root.filename().string())) return {};
  const fs::path cache = place.root.parent_path();
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  if (error || !fs::is_regular_file(fs::symlink_status(cache / "blobs" / ".huggingface-shared-blobs", error))) return {};
  const fs::path name = real.lexically_relative(cache);
  const std::vector<std::string> parts(name.begin(), name.end());
  const bool shared = parts.size() == 3 && parts[0] == "blobs" && is_hex(parts[1], 2) && is_hex(parts[2], 64) &&
                      parts[2].starts_with(parts[1]);
  return shared ? Place{cache, name} : Place{};
}

[[noreturn]] void throw_leads_out(const FileRef& file, bool by_name) {
  std::error_code ignored;
  const fs::path real = fs::weakly_canonical(file.path(), ignored);
  const std::string remedy = "; put the file itself there, or allow it with `follow-links`";
  if (by_name) {
    throw FormatError(fmt::format("{} is outside the folder {}{}", quoted(file.path()), quoted(file.root()), remedy));
  }
  throw FormatError(
      fmt::format("{} is a link that leads out of its folder, to {}{}", quoted(file.path()), quoted(real), remedy));
}

[[noreturn]] void throw_open_error(const FileRef& file, int error) {
  if (error == EXDEV) throw_leads_out(file, false);
  struct stat status {};
  if (error == ENOENT && ::lstat(file.path().c_str(), &status) == 0) {
    throw MissingError(fmt::format("cannot open {}: {} (it is a link to a file that is not there)", quoted(file.path()),
                                   std::generic_category().message(error)));
  }
  throw_errno("open", file.path(), error);
}

// Looked at through a descriptor that opens nothing (opening a device may do things), then opened, then looked at again,
// because it may have been swapped.
template <class Open>
int open_checked(const FileRef& file, Open open) {
  struct stat status {};
  for (const int flags : {O_PATH, O_RDONLY | O_NONBLOCK}) {
    const int fd = uninterrupted([&] { return open(flags | O_CLOEXEC); });
    if (fd < 0) throw_open_error(file, errno);
    Descriptor owner(fd);
    if (::fstat(fd, &status) != 0) throw_errno("look at", file.path(), errno);
    refuse_irregular(file.path(), status.st_mode);
    if ((flags & O_PATH) == 0) return owner.release();
  }
  throw InternalError("a file was neither opened nor refused");
}

int kernel_open_beneath(int root, const fs::path& name, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  for (int tries = 0; tries < 64; ++tries) {  // EAGAIN: something on the way was renamed meanwhile
    fd = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return static_cast<int>(fd);
}

}  // namespace

void refuse_irregular(const fs::path& file, unsigned mode) {
  if (S_ISREG(mode)) return;
  const char* what = S_ISDIR(mode)                    ? "a directory"
                     : S_ISFIFO(mode)                 ? "a FIFO"
                     : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                                                      : "a socket or another special file";
  throw FormatError(fmt::format("{} is {}, where a regular file was expected", quoted(file), what));
}

int walk_beneath(int root, const fs::path& name, int flags) {
  std::vector<Descriptor> folders;  // below root, the innermost last
  std::vector<std::string> todo;    // the next part last
  const auto push = [&](const fs::path& path) {
    const std::vector<std::string> parts(path.begin(), path.end());
    todo.insert(todo.end(), parts.rbegin(), parts.rend());
  };
  const auto fail = [](int error) {
    errno = error;
    return -1;
  };
  push(name);
  int links = 0;
  while (!todo.empty()) {
    const std::string part = todo.back();
    todo.pop_back();
    if (part.empty() || part == ".") continue;
    if (part == "/") return fail(EXDEV);
    if (part == "..") {
      if (folders.empty()) return fail(EXDEV);
      folders.pop_back();
      continue;
    }
    const int at = folders.empty() ? root : folders.back().get();
    Descriptor here(::openat(at, part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (here.get() < 0 || ::fstat(here.get(), &status) != 0) return -1;
    if (S_ISLNK(status.st_mode)) {
      if (++links > kMostLinks) return fail(ELOOP);
      std::string target(4096, '\0');
      const ssize_t length = ::readlinkat(here.get(), "", target.data(), target.size());
      if (length < 0) return -1;
      target.resize(static_cast<std::size_t>(length));
      push(target);
    } else if (S_ISDIR(status.st_mode)) {
      folders.emplace_back(here.release());
    } else {
      if (!todo.empty()) return fail(ENOTDIR);
      return ::openat(at, part.c_str(), flags | O_NOFOLLOW);
    }
  }
  return ::openat(folders.empty() ? root : folders.back().get(), ".", flags);
}

int open_beneath(int root, const fs::path& name, int flags) {
  static std::atomic<bool> kernel_can{true};
  if (kernel_can) {
    const int fd = kernel_open_beneath(root, name, flags);
    // EPERM: a container's filter that does not know the call.
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EINVAL && errno != EAGAIN)) return fd;
    if (errno != EAGAIN) kernel_can = false;
  }
  return walk_beneath(root, name, flags);
}

bool FileRef::may_lead_anywhere() const { return named_ || links_followed || path_.extension() == ".safetensors"; }

void follow_links(bool follow) { links_followed = follow; }

bool links_are_followed() { return links_followed; }

fs::path leads_out_to(const fs::path& file) {
  struct stat status {};
  if (::lstat(file.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return {};
  const Place place = place_of(parent_of(file), file);
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  if (error) return {};
  const bool inside = std::mismatch(place.root.begin(), place.root.end(), real.begin(), real.end()).first ==
                          place.root.end() ||
                      !shared_place(place, file).name.empty();
  return inside ? fs::path() : real;
}

int open_regular(const FileRef& file) {
  if (file.may_lead_anywhere() || !file.path().has_filename()) {
    return open_checked(file, [&](int flags) { return ::open(file.path().c_str(), flags); });
  }
  const Place place = place_of(file);
  if (place.name.empty()) throw_leads_out(file, true);
  const auto open_folder = [&](const fs::path& folder) {
    Descriptor opened(uninterrupted([&] { return ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    if (opened.get() < 0) throw_errno("open", folder, errno);
    return opened;
  };
  const Descriptor root = open_folder(place.root);
  return open_checked(file, [&](int flags) {
    const int fd = open_beneath(root.get(), place.name, flags);
    if (fd >= 0 || errno != EXDEV) return fd;
    const Place shared = shared_place(place, file.path());
    if (!shared.name.empty()) return open_beneath(open_folder(shared.root).get(), shared.name, flags);
    errno = EXDEV;
    return -1;
  });
}

}  // namespace lowrank::core
