#include "lowrank/data/stored_copies.h"

#include <functional>
#include <utility>
#include <vector>

namespace lowrank::data {

namespace {

core::FileRef unchanged(const core::MappedFile& mapped) {
  core::FileRef file = core::FileRef::named(mapped.path());
  core::check_unchanged(file, mapped.stamp());
  return file;
}

template <class T>
void copy(const core::InputFile& from, const core::MappedFile& mapped, Values<T>& values) {
  const auto* const at = reinterpret_cast<const std::byte*>(std::as_const(values).data());
  const std::byte *const begin = mapped.bytes().data(), *const end = begin + mapped.bytes().size();
  if (values.empty() || std::less<>()(at, begin) || !std::less<>()(at, end)) {
    values.own();  // it lies elsewhere: the mask of what is learned whole
    return;
  }
  std::vector<T> own(values.size());
  from.read_at(static_cast<std::uint64_t>(at - begin), {reinterpret_cast<char*>(own.data()), own.size() * sizeof(T)});
  values = Values<T>(std::move(own));
}

}  // namespace

StoredCopies::StoredCopies(std::shared_ptr<const TokenStorage> storage)
    : storage_(std::move(storage)), ids_(unchanged(storage_->ids_file())), learned_(unchanged(storage_->learned_file())) {}

void StoredCopies::own(Example& example) const {
  copy(ids_, storage_->ids_file(), example.ids);
  copy(learned_, storage_->learned_file(), example.learned);
}

}  // namespace lowrank::data
