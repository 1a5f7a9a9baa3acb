// Attaching, detaching and enabling adapters on the linear slots of a model; PEFT directories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/lora/beside_text.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/embedding_slot.h"
#include "lowrank/lora/experts_slot.h"
#include "lowrank/lora/linear_slot.h"
#include "lowrank/lora/whole_module.h"

namespace lowrank::lora {

struct TokenPlace;
enum class Tied;

/// What lora/ knows of a model: its linear slots in order, which is the output head, and what else can be trained.
struct SlotTable {
  std::vector<LinearSlot> slots;
  EmbeddingSlot embedding;         // null where the model has none that can be adapted
  std::vector<WholeModule> whole;  // modules for modules_to_save beside the slots and the embedding: norms, a score
  std::string head;                // path of the output embedding ("lm_head"), which all-linear leaves out
  bool tied = false;      // the head is the embedding's weight
  /// Rows of the embedding in the model's files, where the base was resized to more; 0: it was not. The further rows,
  /// and the head's, go with an adapter that does not train them all.
  std::int64_t file_rows = 0;
  /// Where adapters that act on some tokens alone are entered (null: a model that cannot say which).
  std::shared_ptr<Activations> activations = {};
  std::int64_t layers = 0;
  std::string base_name;  // written as base_model_name_or_path
  /// Paths of modules that are no linear layers (norms, embeddings), where known: PEFT matches targets against these
  /// too, and a saved config must not name them. Modules that contain the slots need not be listed.
  std::vector<std::string> others;
  std::vector<std::string> beside = {};  // tensors of the model's files that text does not pass through

  std::vector<std::string> kept_from_all_linear = {};  // paths of slots that are targets only where they are named

  // Of a mixture of experts, which target_parameters names: see target_parameters.h.
  std::vector<LinearSlot> routers;
  std::vector<ExpertsSlot> experts;
  bool converts_expert_targets = false;
  std::string own_spelling = {}, older_spelling = {};  // a part of paths, and how older files spell it ("mlp")
};

/// An adapter that is attached: its config with targets expanded, and the slots that carry it under its name. Several
/// can be on one model; what is not enabled costs nothing.
class Adapter {
 public:
  const std::string& name() const { return name_; }
  const LoraConfig& config() const { return config_; }
  const std::vector<LinearSlot>& slots() const { return slots_; }
  /// The slots of experts that carry it. (Routers that do are among slots().)
  const std::vector<ExpertsSlot>& experts() const { return experts_; }
  /// The model's embedding (null where it has none), and whether the adapter has A and B on it.
  const EmbeddingSlot& embedding() const { return embedding_; }
  bool adapts_embedding() const { return embedding_ != nullptr && embedding_->adapted(name_); }
  /// The modules of which it keeps trained copies (modules_to_save, biases), in the model's order.
  const std::vector<WholeModule>& whole() const { return whole_; }
  /// Of which it has single rows of its own (trainable_token_indices): the embedding, the head; paths and rows.
  struct OwnRows {
    std::string path;
    TokenRows rows;
  };
  const std::vector<OwnRows>& token_rows() const { return token_rows_; }
  /// SlotTable::file_rows, and a head of its own that was resized with the embedding (null: none).
  std::int64_t file_rows() const { return file_rows_; }
  const LinearSlot& grown_head() const { return head_of_grown_; }
  /// Whether a head that is tied to the embedding shares what the adapter has there, so that both stay tied.
  bool keeps_tied() const { return keeps_tied_; }
  /// What PEFT saves beside parameters(): the shared copies again under the head's name, rows of a resized base, and
  /// beside_text().
  std::vector<NamedTensor> saved_beside() const;
  const std::vector<BesideText>& beside_text() const { return beside_text_; }
  /// Merged into what the base's codes stand for, where its layers are in codes, instead of the files' own weights: of an
  /// adapter that holds what the codes have lost (LoftQ).
  bool merges_into_decoded() const { return merges_into_decoded_; }
  void merge_into_decoded(bool decoded) { merges_into_decoded_ = decoded; }
  /// ConfigError where it has beside_text(), which `result` would lack.
  void require_text_alone(const std::string& result) const;
  /// Its copies at the module of this path. InternalError where it has none.
  const std::vector<NamedTensor>& at_whole(const std::string& path) const;
  const std::string& head() const { return head_; }                      // SlotTable::head
  const std::string& head_tensor() const { return head_tensor_; }        // that the head is in the model's files
  const std::filesystem::path& directory() const { return directory_; }  // what load_peft read, else empty
  /// Under the names of PEFT's file: A and B of the embedding; lora_A, lora_B and, where they are, the bias and DoRA's
  /// magnitude of every slot, in the order of the slots; then the trained copies and rows.
  std::vector<NamedTensor> parameters() const;
  std::int64_t parameter_count() const;
  void set_enabled(bool enabled);
  /// lora_dropout of config(), for what is trained from here on. ConfigError where it is outside [0, 1), or acts on
  /// parameters, which have none; then nothing is changed.
  void set_dropout(double p);
  /// The matrices at one of its slots.
  const LoraMatrices& at(const LinearSlot& slot) const { return slot->lora(name_); }
  const LoraMatrices& at(const ExpertsSlot& slot) const { return slot->lora(name_); }
  void merge();  // every slot: LinearSlotImpl::merge
  void unmerge();
  void detach();  // the slots are bare again, and this adapter empty

 private:
  void attach_rows(const SlotTable& table, std::vector<TokenPlace> places, std::vector<at::Tensor> values);
  void share_with_head(const SlotTable& table, Tied tied);
  void act_on_active(const SlotTable& table);
  friend Adapter attach(const SlotTable&, const LoraConfig&, std::uint64_t seed, const std::string& name);
  friend Adapter load_peft(const SlotTable&, const std::filesystem::path&, std::vector<std::string>*,
                           const std::string& name);
  std::string name_ = kDefaultAdapter;
  LoraConfig config_;
  std::vector<LinearSlot> slots_;
  std::vector<ExpertsSlot> experts_;
  EmbeddingSlot embedding_;
  std::vector<WholeModule> whole_;
  std::vector<OwnRows> token_rows_;
  LinearSlot head_slot_;  // where something other than A and B of its own acts on it, else null
  std::shared_ptr<ActiveTokens> active_;  // of an activated LoRA
  LinearSlot head_of_grown_;  // a head of its own with rows that the model's files do not have
  bool keeps_tied_ = false;
  std::int64_t file_rows_ = 0;  // SlotTable::file_rows
  std::vector<BesideText> beside_text_;
  bool merges_into_decoded_ = false;
  std::string head_, head_tensor_;
  std::filesystem::path directory_;
};

/// New matrices on every matching slot, as init.h makes them from (seed, path) by counters; fp32 leaves that require
/// grad. With use_dora also the magnitude, which begins as the norms of W + s·B A. Copies of what modules_to_save and
/// bias name, equal to the base's. The config kept has targets that PEFT resolves to the same modules. ConfigError as
/// match_modules, for a key of rank_pattern or alpha_pattern that no target has, an entry of modules_to_save that names
/// nothing, a bias where there is none, for a rank that an initialisation cannot give a module, DoRA or an
/// initialisation from the weight on the embedding, and where a slot carries an adapter of this name already; then
/// nothing is attached.
Adapter attach(const SlotTable& table, const LoraConfig& config, std::uint64_t seed = 42,
               const std::string& name = kDefaultAdapter);

/// A PEFT directory onto the model, ready to train on. Strict: a missing, unexpected or misshapen tensor, a matrix that
/// is not finite, a rank unlike the config's is a ModelError/FormatError that names it and the nearest expected key;
/// then nothing is attached. Where the names do not begin as base_model.model.<path>, paths are matched by their
/// longest common end (one and the same change for all) and that is reported in `notes`, as is whatever else the user
/// should know.
Adapter load_peft(const SlotTable& table, const std::filesystem::path& directory,
                  std::vector<std::string>* notes = nullptr, const std::string& name = kDefaultAdapter);

/// adapter_model.safetensors and adapter_config.json, as PEFT's save_pretrained writes them (README.md is the app's);
/// PiSSA and OLoRA as the plain LoRA of twice the rank that they are on the base as it was. The folder is
/// made; each file written beside and renamed. Throws ModelError when a matrix is not finite.
void save_peft(const Adapter& adapter, const std::filesystem::path& directory);

/// What a resumed run of PiSSA or OLoRA needs beside A and B: A0 and B0 as initial_adapter.safetensors, under the names
/// of A and B. Nothing for other adapters.
void save_initial(const Adapter& adapter, const std::filesystem::path& directory);
/// They are read back into the slots. ModelError or MissingError where they are not this adapter's.
void load_initial(Adapter& adapter, const std::filesystem::path& directory);

/// Bytes adapter_model.safetensors has or will have.
std::uint64_t peft_bytes(const Adapter& adapter);

}  // namespace lowrank::lora
