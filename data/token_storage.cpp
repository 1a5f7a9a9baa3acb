#include "lowrank/data/token_storage.h"

#include "lowrank/core/error.h"
#include "lowrank/core/mapped_pages.h"
#include "lowrank/data/token_format.h"

namespace lowrank::data {

namespace {

[[noreturn]] void damaged(const std::filesystem::path& file, const char* why) {
  throw DataError(file.string() + " is damaged (" + why + "); remove the folder");
}

template <class Record>
std::span<const Record> records_of(const core::MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() % sizeof(Record) != 0) damaged(file.path(), "it ends within a record");
  return {reinterpret_cast<const Record*>(bytes.data()), bytes.size() / sizeof(Record)};
}

}  // namespace

TokenStorage::TokenStorage(const std::filesystem::path& folder, const StoredNames& known) : ones_(known.longest, 1) {
  for (const char* name : {kExamples, kDocuments, kIds, kLearned}) {
    files_.push_back(core::MappedFile::open(core::FileRef::named(folder / name)));
  }
  examples_ = records_of<StoredExample>(*files_[0]);
  documents_ = records_of<StoredDocument>(*files_[1]);
  ids_ = records_of<TokenId>(*files_[2]);
  learned_ = records_of<std::uint8_t>(*files_[3]);
  for (const std::string& name : known.files) names_.push_back(std::make_shared<const std::string>(name));
}

void TokenStorage::outside() const {
  damaged(files_[0]->path(), "an example outside of the tokens or the documents");
}

Example TokenStorage::example(std::size_t i) const {
  const StoredExample& one = record(i);
  const bool whole = one.learned == kAllLearned;
  if (one.ids > ids_.size() || one.length > ids_.size() - one.ids ||
      (whole ? one.length > ones_.size()
             : one.learned > learned_.size() || one.length > learned_.size() - one.learned)) {
    outside();
  }
  return {Values<TokenId>::view(ids_.data() + one.ids, one.length),
          Values<std::uint8_t>::view(whole ? ones_.data() : learned_.data() + one.learned, one.length), one.document,
          one.cut, static_cast<std::int32_t>(one.counted)};
}

Document TokenStorage::document(std::size_t i) const {
  const StoredDocument& one = documents_[i];
  constexpr std::int64_t kMost = std::int64_t{1} << 60;
  if (one.file >= names_.size() || one.unit > static_cast<std::uint32_t>(Place::Unit::kRow) || one.number < 0 ||
      one.number > kMost) {
    damaged(files_[1]->path(), "a document of no file");
  }
  return {Place(names_[one.file], static_cast<Place::Unit>(one.unit), one.number), one.duplicate != 0, one.source};
}

void TokenStorage::release() const {
  for (const auto& file : files_) core::release_pages(file->bytes());
}

}  // namespace lowrank::data
