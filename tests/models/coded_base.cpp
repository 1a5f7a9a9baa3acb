// Bases in int8 and NF4: which weights are in codes, the cache's file, and what a decoder makes of them.
#include "lowrank/models/coded_base.h"

#include "lowrank/core/error.h"
#include "lowrank/lora/adapter.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using kernels::BaseForm;

namespace {

/// HF_HOME for a scope.
class HubHome {
 public:
  explicit HubHome(const fs::path& home) {
    ::unsetenv("HF_HUB_CACHE");
    ::setenv("HF_HOME", home.c_str(), 1);
  }
  ~HubHome() { ::unsetenv("HF_HOME"); }
};

models::Decoder load(const Golden& golden, models::CodedLoad& coded, at::ScalarType dtype = at::kFloat) {
  return models::load_decoder(models::read_config(golden.folder), golden.weights, dtype, false, nullptr, at::kCPU,
                              nullptr, &coded);
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

at::Tensor hidden_of(models::DecoderImpl& decoder, const Golden& golden) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = golden.tensor("document.0");
  return decoder.hidden(ids, kernels::Segments::of_lengths({ids.size(0)}));
}

}  // namespace

TEST_CASE("the linear layers of every family lie in codes, and nothing else does", "[unit]") {
  TempDir temp;
  const HubHome home(temp.path());
  for (const std::string& name : golden_cases()) {
    INFO(name);
    const Golden golden(name);
    models::CodedLoad coded{.form = BaseForm::kInt8};
    const models::Decoder decoder = load(golden, coded), plain = golden.load();
    const lora::SlotTable table = decoder->slot_table();
    for (const lora::LinearSlot& slot : table.slots) {
      INFO(slot->path());
      const bool head = slot->path() == table.head;
      CHECK(slot->base().original().defined() == !head);
      CHECK(slot->base().gives_views(slot->base().dtype()) == head);
    }
    for (const lora::LinearSlot& router : table.routers) CHECK_FALSE(router->base().original().defined());
    CHECK(table.slots.size() == plain->slot_table().slots.size());
    // The decoder computes with the values of the codes: near the files', and not the same.
    const at::Tensor found = hidden_of(*decoder, golden), expected = hidden_of(*plain, golden);
    const double difference = (found - expected).norm().item<double>() / expected.norm().item<double>();
    CHECK(difference > 0);
    CHECK(difference < 0.25);
  }
}

TEST_CASE("a layer in codes computes what its decoded weight does, transposed ones and experts too", "[unit]") {
  TempDir temp;
  const HubHome home(temp.path());
  for (const char* name : {"gpt2", "llama", "mixtral"}) {
    INFO(name);
    const Golden golden(name);
    models::CodedLoad coded{.form = BaseForm::kNf4};
    const models::Decoder decoder = load(golden, coded), plain = golden.load();
    const auto slots = decoder->slot_table().slots, stored = plain->slot_table().slots;
    for (std::size_t i = 0; i + 1 < slots.size(); ++i) {
      INFO(slots[i]->path());
      const kernels::BaseWeight &base = slots[i]->base(), &own = stored[i]->base();
      const at::Tensor values = base.rows(0, base.out_features(), at::kFloat);
      const at::Tensor w = own.rows(0, own.out_features(), at::kFloat);
      CHECK(torch::equal(base.original().to(at::kFloat), w));
      CHECK((values - w).abs().max().item<double>() < 0.16 * w.abs().max().item<double>());
      CHECK(slots[i]->stored().transposed == stored[i]->stored().transposed);
      const at::Tensor x = torch::randn({5, base.in_features()});
      const at::Tensor y = slots[i]->forward(x), z = x.matmul(values.t());
      CHECK((y - (base.bias().defined() ? z + base.bias() : z)).abs().max().item<double>() < 1e-4);
    }
    for (const lora::ExpertsSlot& experts : decoder->slot_table().experts) CHECK(experts->base().own.empty());
  }
}

TEST_CASE("codes are made once, mapped afterwards, and made anew where the file is damaged", "[unit]") {
  TempDir temp;
  const HubHome home(temp / "home");
  const Golden golden("llama");
  models::CodedLoad first{.form = BaseForm::kNf4};
  const at::Tensor expected = hidden_of(*load(golden, first), golden);
  const auto files = files_in(temp / "home" / "lowrank" / "base");
  REQUIRE(files.size() == 1);
  CHECK(first.base->file() == files.front());
  CHECK(first.base->words().find("made now") != std::string::npos);
  const std::string bytes = read_text(files.front());
  const auto load_again = [&] {
    models::CodedLoad again{.form = BaseForm::kNf4};
    CHECK(torch::equal(hidden_of(*load(golden, again), golden), expected));
    return again.base->words();
  };
  const auto time = fs::last_write_time(files.front());
  CHECK(load_again().find("from the cache") != std::string::npos);
  CHECK(fs::last_write_time(files.front()) == time);
  std::string flipped = bytes;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  for (const std::string& damaged : {flipped, bytes.substr(0, bytes.size() / 2), std::string(), std::string("text")}) {
    write_text(files.front(), damaged);
    CHECK(load_again().find("made anew") != std::string::npos);
    CHECK(read_text(files.front()) == bytes);
  }
  models::CodedLoad other{.form = BaseForm::kInt8};
  load(golden, other);
  CHECK(files_in(temp / "home" / "lowrank" / "base").size() == 2);
}

TEST_CASE("where no cache can be written, codes are held in memory", "[unit]") {
  TempDir temp;
  const Golden golden("llama");
  at::Tensor expected;
  {
    const HubHome home(temp / "home");
    models::CodedLoad cached{.form = BaseForm::kNf4};
    expected = hidden_of(*load(golden, cached), golden);
  }
  write_text(temp / "file", "no folder");
  const HubHome home(temp / "file");
  models::CodedLoad coded{.form = BaseForm::kNf4};
  CHECK(torch::equal(hidden_of(*load(golden, coded), golden), expected));
  CHECK(coded.base->file().empty());
  CHECK(coded.base->words().find("held in memory") != std::string::npos);
}
