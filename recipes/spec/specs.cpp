#include "lowrank/recipes/spec/specs.h"

#include <utility>

namespace lowrank::recipes {

namespace {

constexpr double kMany = 1099511627776;  // 2^40: of steps, of tokens
constexpr auto kFree = Identity::kFree;
constexpr auto kHash = Identity::kHash;
constexpr auto kChoice = Identity::kChoice;
constexpr std::pair<double, double> kSteps = {1, kMany}, kCount = {1, 1 << 20};

}  // namespace

DataSource texts(std::vector<std::string> documents) {
  return [documents = std::move(documents)](const data::Tokenizer& tokenizer, const data::DataOptions& options) {
    return data::from_texts(documents, tokenizer, options);
  };
}

namespace {

const Fields::Traits& format_traits() {
  static const Fields::Traits traits = {.choices = {"auto", "text", "completion", "alpaca", "messages", "sharegpt"}};
  return traits;
}

}  // namespace

void describe_columns(Fields& t, std::optional<std::string>& columns) {
  t.add("columns", &columns, "NAME=COLUMN,...",
        "Columns by their own names: prompt=question,completion=answers.best (a dot goes into an object)",
        {.searched = false});
}

void describe_layout(Fields& t, std::optional<std::string>& layout) {
  t.add("layout", &layout, "TEXT",
        "What a row's text is: \"{question}\\n[[{answer}]]\" learns what stands in [[ ]], at its end; without them, all",
        {.searched = false});
}

void describe_text(Fields& t, DataSpec& s) {
  t.group("Data");
  t.add("data", &s.data, "PATH[*W]...",
        "Files of text or rows, folders of them, - for stdin; *W: an epoch takes the examples so often",
        {.required = true, .identity = kHash, .searched = false});
  t.add("format", &s.format, "NAME", "What the rows are", format_traits());
  describe_columns(t, s.columns);
  describe_layout(t, s.layout);
  t.add("mix-temperature", &s.mix_temperature, "T",
        "Mix the paths of `data` by the T-th root of their sizes (1: as they are)", {.range = {{0.01, 1000}}});
  t.add("seq-len", &s.seq_len, "N",
        "Tokens in a piece or example at most (default: 1024, or the model's positions if fewer)",
        {.range = {{2, 1 << 24}}});
  t.add("val-data", &s.val_data, "PATH...", "Validation data (best checkpoint, early stopping)",
        {.identity = kHash, .searched = false});
  t.add("val-split", &s.val_split, "F", DataWords().val_split, {.range = {{0, 0.9}}});
  t.add("split-seed", &s.split_seed, "N", "Seed of what is kept for validation (default: `seed`)");
  t.add("general-data", &s.general_data, "PATH...", "Text of other kinds: what is forgotten is measured on it",
        {.identity = kHash, .searched = false});
  t.add("train-on-prompt", &s.train_on_prompt, "", "Learn the prompts' tokens too");
  t.add("token-cache", &s.token_cache, "DIR",
        "Folder that keeps token ids for the next run, which maps them; off; auto: from 64 MB of files on, in "
        "~/.cache/lowrank/tokens",
        {.identity = kFree, .searched = false});
  describe(t, s.chat);
  t.add("no-shuffle", &s.no_shuffle, "", "Take the examples in file order");
}

void describe(Fields& t, ChatSpec& s, bool learned) {
  t.group("Data");
  t.add("chat-template", &s.chat_template, "FILE",
        "Jinja template of conversations, instead of the adapter's or the model's; none: a plain role layout",
        {.identity = kHash, .searched = false});
  t.add("template-arg", &s.template_arg, "NAME=VALUE...",
        "Variables of the chat template, values as JSON or text: enable_thinking=false");
  t.add("date", &s.date, "DATE", "What a chat template takes for today: 2026-11-30 (default: the day the run begins)");
  if (!learned) return;
  t.add("loss-on", &s.loss_on, "WHICH...",
        "Turns of conversations that are learned: all-assistant, last, or: roles NAME,NAME (default: all-assistant)");
}

void describe_data(Fields& t, DataSpec& s, const DataWords& words) {
  t.group("Data");
  t.add("data", &s.data, "PATH...", words.data, {.required = true, .identity = kHash, .searched = false});
  describe_columns(t, s.columns);
  t.add("seq-len", &s.seq_len, "N", words.seq_len, {.range = {{2, 1 << 24}}});
  t.add("val-data", &s.val_data, "PATH...", words.val_data, {.identity = kHash, .searched = false});
  t.add("val-split", &s.val_split, "F", words.val_split, {.range = {{0, 0.9}}});
  t.add("no-shuffle", &s.no_shuffle, "", words.no_shuffle);
}

void describe_method(Fields& t, AdapterSpec& s) {
  t.group("Adapter");
  t.add("method", &s.method, "NAME", "Low-rank adapters, every weight, or (pictures) the classifier alone",
        {.choices = {"lora", "full", "head"}});
}

void describe(Fields& t, AdapterSpec& s) {
  t.group("Adapter");
  t.add("rank", &s.rank, "N", "Rank r of the adapters (default: 16)", {.range = kCount});
  t.add("alpha", &s.alpha, "X", "lora_alpha; the update is scaled by alpha/r (default: 2*rank)");
  t.add("dropout", &s.dropout, "P", "Dropout on the adapters' input (default: 0)");
  t.add("targets", &s.targets, "LIST",
        "all-linear, names such as q_proj,v_proj,embed_tokens,lm_head, or a regular expression for the whole path "
        "(default: all-linear)");
  t.add("target-parameters", &s.target_parameters, "LIST",
        "Parameters of experts and routers, as PEFT's target_parameters: mlp.experts.gate_up_proj,mlp.gate.weight … "
        "(without `targets`: these alone)");
  t.add("exclude", &s.exclude, "LIST", "Names or a regular expression of linears to leave out");
  t.add("layers", &s.layers, "RANGES", "Only these layers: 8-15, or 0,2,5-7");
  t.add("rslora", &s.rslora, "", "Scale by alpha/sqrt(r) (rsLoRA)");
  t.add("rank-pattern", &s.rank_pattern, "MODULE=N...", "Other ranks for modules, as PEFT's rank_pattern");
  t.add("alpha-pattern", &s.alpha_pattern, "MODULE=X...", "Other alphas, as PEFT's alpha_pattern");
  t.add("modules-to-save", &s.modules_to_save, "LIST",
        "Modules trained and saved whole: lm_head, embed_tokens, norm …, whatever a path ends with");
  t.add("add-tokens", &s.add_tokens, "FILE",
        "New tokens, one a line (a tab and a text behind it: its row begins as that text's mean; else as the mean of all), "
        "or a JSON list; the tokenizer goes with the adapter, and the new rows are trained, or kept whole by "
        "`modules-to-save` embed_tokens,lm_head",
        {.identity = kHash, .searched = false});
  t.add("bias", &s.bias, "WHICH", "Biases trained too: those of the targets, or all (default: none)",
        {.choices = {"none", "lora_only", "all"}});
  t.add("dora", &s.dora, "", "DoRA: a trained magnitude for every row of the weight beside A and B");
  t.add("init", &s.init, "NAME",
        "How A and B start: default, gaussian, orthogonal; pissa, pissa_niter_N (fast), olora: from the weight, saved "
        "at twice the rank; loftq: with what `base-dtype` has lost (default: default)");
  t.add("lora-plus-ratio", &s.lora_plus_ratio, "X", "LoRA+: B learns at X times `lr` (default: 1; its paper: 16)",
        {.range = {{1e-3, 1e6}}});
  t.add("adapter", &s.adapter, "DIR", "Start from this PEFT adapter; it brings rank, alpha and targets",
        {.identity = kHash});
}

void describe(Fields& t, TrainSpec& s, const TrainWords& words) {
  t.group("Training");
  t.add("epochs", &s.epochs, "N", "Passes over the data");
  t.add("max-steps", &s.max_steps, "N", "Optimiser steps, instead of `epochs`", {.range = kSteps});
  t.add("batch-size", &s.batch_size, "N", words.batch_size, {.range = kCount});
  t.add("batch-tokens", &s.batch_tokens, "N", "Instead: fill a micro-batch to this many tokens",
        {.range = {{2, 4294967296}}});
  t.add("grad-accum", &s.grad_accum, "N", "Micro-batches in an optimiser step", {.range = kCount});
  t.add("lr", &s.lr, "X", "Learning rate (default: " + words.lr + (words.lr_auto ? "); auto: by a range test of a few steps" : ")"),
        {.range = {{0, 1e3}}, .choices = {"auto"}});
  t.add("schedule", &s.schedule, "NAME", "Learning rate over the run", {.choices = {"cosine", "linear", "constant"}});
  t.add("warmup", &s.warmup, "X", "Warm-up: below 1 a share of the steps, else steps", {.range = {{0, 1e12}}});
  t.add("clip", &s.clip, "X", "Largest gradient norm; 0: off", {.range = {{0, 1e12}}, .decimal = true});
  t.add("weight-decay", &s.weight_decay, "X", "AdamW's decoupled weight decay", {.range = {{0, 1e3}}});
  t.add("l1", &s.l1, "X", "L1 penalty, as a proximal step: exact zeros appear", {.range = {{0, 1e6}}});
  t.add("l2", &s.l2, "X", "L2 penalty, X/2 times the squared norm", {.range = {{0, 1e6}}});
  t.add("early-stopping", &s.early_stopping, "N", "Stop after N evaluations without a better validation loss",
        {.range = kCount});
  t.add("on-spike", &s.on_spike, "WHAT",
        "A step whose loss or gradient norm is 6 deviations above those of the last 128, or is not finite: stop; skip (learn nothing of it); "
        "rollback (to the last checkpoint, at half the rate)",
        {.choices = {"stop", "skip", "rollback"}});
  t.add("eval-every", &s.eval_every, "N", "Steps between evaluations (default: ten a run)", {.range = kSteps});
  t.add(
      "eval-budget", &s.eval_budget, "F",
      "Share of the time that evaluation may take: of a large validation set a fixed part is measured on the way, the "
      "whole at the start and the end where that fits; 1: always the whole",
      {.range = {{0.001, 1}}});
  t.add("seed", &s.seed, "N", "Seed of everything random");
}

namespace {

constexpr const char* kRouterLoss =
    "Weight of the load-balancing loss of a mixture's routers, as transformers has it in each micro-batch "
    "(router_aux_loss_coef; default: ";

}  // namespace

void describe_router_loss(Fields& t, double& weight) {
  t.add("router-aux-loss", &weight, "X", std::string(kRouterLoss) + "0)", {.range = {{0, 1e3}}});
}

void describe_router_loss(Fields& t, std::optional<double>& weight, const std::string& fallback) {
  t.add("router-aux-loss", &weight, "X", kRouterLoss + fallback + ")", {.range = {{0, 1e3}}});
}

void describe(Fields& t, RegularisationSpec& s) {
  t.group("Against overfitting and forgetting");
  t.add("delta-l1", &s.delta_l1, "X", "L1 penalty on the update ΔW = s*B*A itself", {.range = {{0, 1e6}}});
  t.add("delta-l2", &s.delta_l2, "X", "L2 penalty on ΔW, X/2 times its squared norm", {.range = {{0, 1e6}}});
  t.add("orthogonality", &s.orthogonality, "X", "X (|A*A' - I|^2 + |B'*B - I|^2), as in AdaLoRA",
        {.range = {{0, 1e6}}});
  t.add("max-delta-norm", &s.max_delta_norm, "X", "Largest norm of a layer's ΔW, kept after every step",
        {.range = {{0, 1e9}}});
  t.add("label-smoothing", &s.label_smoothing, "X", "Share of the target spread over all tokens, in training",
        {.range = {{0, 0.999}}});
  describe_router_loss(t, s.router_aux_loss);
  t.add("neftune", &s.neftune, "X", "NEFTune: noise of alpha X on the embeddings, in training", {.range = {{0, 1e6}}});
  t.add("ema", &s.ema, "X", "Evaluate and save a moving average of what is trained, decay X", {.range = {{0, 1}}});
  t.add("min-gain", &s.min_gain, "X",
        "Nats a token that validation must gain for `early-stopping` to go on (default: 0)", {.range = {{0, 1e3}}});
  t.add("max-forgetting", &s.max_forgetting, "P%",
        "Scale ΔW after training so that perplexity on `general-data` rises by at most this");
}

void describe(Fields& t, LittleDataSpec& s) {
  t.group("Little data");
  t.add("preset", &s.preset, "NAME", "few-shot: options for tens to hundreds of documents; given ones win",
        {.choices = {"few-shot"}});
  t.add("folds", &s.folds, "K", "Cross-validation: K runs into folders of `out`, mean and spread",
        {.range = {{2, 1000}}});
  t.add("seeds", &s.seeds, "N", "N runs with seeds from `seed` on, mean and spread", {.range = {{2, 1000}}});
  t.add("learning-curve", &s.learning_curve, "", "Runs on 1/8, 1/4, 1/2 and all of the data: would more help?");
  t.add("fold", &s.fold, "I/K", "Validate on fold I of K of the documents, train on the rest");
  t.add("share", &s.share, "F", "Train on this share of the documents (smaller ones are part of larger)",
        {.range = {{0, 1}}});
}

void describe_dtype(Fields& t, RunSpec& s) {
  t.group("System");
  t.add("dtype", &s.dtype, "TYPE",
        "Computation type; auto: bfloat16 where the file is bfloat16 and the device computes it, else float32",
        {.choices = {"auto", "float32", "bfloat16"}, .identity = kChoice});
  t.add("base-dtype", &s.base_dtype, "TYPE",
        "Form of the frozen linear layers in memory: int8 or nf4, as bitsandbytes makes them, kept beside the Hugging "
        "Face cache; auto: as the files have them",
        {.choices = {"auto", "int8", "nf4"}, .identity = kChoice});
  t.add("shard-base", &s.shard_base, "WHEN",
        "Of several ranks: each keeps its share of the frozen base and has layers sent as they are used; auto: where not all "
        "stand on one machine, whose mapped files they share. The results are the same bytes",
        {.choices = {"off", "auto", "always"}, .identity = kFree, .searched = false});
}

void describe(Fields& t, RunSpec& s) {
  t.group("System");
  t.add("device", &s.device, "DEVICE",
        "What computes: cpu, cuda or cuda:N (with a LibTorch that has CUDA); auto: a GPU where there is one. Under a launcher "
        "cuda is one GPU a rank",
        {.identity = kChoice, .searched = false});
  t.add("threads", &s.threads, "N", "CPU threads (default: the cores that may be used)",
        {.range = {{1, 1024}}, .identity = kFree, .searched = false});
  t.add("recompute", &s.recompute, "WHAT",
        "Activation checkpointing: layer halves memory for a third more time; auto: of as few layers as make it fit",
        {.choices = {"auto", "none", "layer"}, .identity = kChoice});
  t.add("fit", &s.fit, "",
        "Where a step does not fit into memory: cut it into smaller micro-batches, and say what was taken",
        {.identity = kFree, .searched = false});
  t.add("kernels", &s.kernels, "KIND", "Fused ops, or their slow twins made of LibTorch's own",
        {.choices = {"fused", "composite"}});
  t.add("pack", &s.pack, "WHAT",
        "Frozen weights' panels: stream packs them as they are used, keep once (8 bytes a parameter); auto: keep where "
        "batches are so small that packing is felt and memory is plenty. The results are the same bytes",
        {.choices = {"auto", "keep", "stream"}, .identity = kFree, .searched = false});
  t.group("Run");
  t.add("out", &s.out, "DIR", "Folder for the result", {.required = true, .identity = kFree, .searched = false});
  t.add("save-every", &s.save_every, "N", "Steps between checkpoints (default: five a run)",
        {.range = kSteps, .identity = kFree});
  t.add("keep-last", &s.keep_last, "N", "Checkpoints kept, beside the best",
        {.range = kCount, .identity = kFree, .searched = false});
  t.add("resume", &s.resume, "", "Go on from the newest checkpoint in `out` (or start, where there is none)",
        {.identity = kFree, .searched = false});
  t.add("overwrite", &s.overwrite, "", "Replace the run that `out` holds", {.identity = kFree, .searched = false});
  t.add("force", &s.force, "", "Go on although the doctor's checks of the data fail; resume although options or machine differ (not bit-exact)",
        {.identity = kFree, .searched = false});
  t.add("dry-run", &s.dry_run, "", "Say what would be done, and stop", {.identity = kFree, .searched = false});
  t.add("log-every", &s.log_every, "N", "Steps between console lines (default: twenty a run)",
        {.range = kSteps, .identity = kFree, .searched = false});
  t.add("tensorboard", &s.tensorboard, "", "Write an event file for TensorBoard into `out`", {.identity = kFree});
  t.add("profile", &s.profile, "", "Say where a step's time goes, by op, and write profile.json, a Chrome trace, into `out`",
        {.identity = kFree, .searched = false});
}

namespace {

/// The field of a table of one.
template <typename Describe>
FieldInfo single(const Describe& describe_one, const std::string& name) {
  Spec spec;
  Fields table(spec);
  describe_one(table);
  for (const FieldInfo& field : table.info())
    if (field.name == name) return field;
  return {};
}

}  // namespace

FieldInfo dtype_field() {
  RunSpec run;
  return single([&](Fields& t) { describe_dtype(t, run); }, "dtype");
}

FieldInfo base_dtype_field() {
  RunSpec run;
  return single([&](Fields& t) { describe_dtype(t, run); }, "base-dtype");
}

FieldInfo shard_base_field() {
  RunSpec run;
  return single([&](Fields& t) { describe_dtype(t, run); }, "shard-base");
}

FieldInfo device_field() {
  RunSpec run;
  return single([&](Fields& t) { describe(t, run); }, "device");
}

FieldInfo threads_field() {
  RunSpec run;
  return single([&](Fields& t) { describe(t, run); }, "threads");
}

std::vector<FieldInfo> chat_fields(bool learned) {
  ChatSpec chat;
  Spec spec;
  Fields table(spec);
  describe(table, chat, learned);
  return table.info();
}

FieldInfo columns_field() {
  DataSpec data;
  return single([&](Fields& t) { describe_text(t, data); }, "columns");
}

FieldInfo layout_field() {
  DataSpec data;
  return single([&](Fields& t) { describe_text(t, data); }, "layout");
}

FieldInfo format_field() {
  DataSpec data;
  return single([&](Fields& t) { describe_text(t, data); }, "format");
}

}  // namespace lowrank::recipes
