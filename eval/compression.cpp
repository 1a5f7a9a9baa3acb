#include "lowrank/eval/compression.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "lowrank/core/error.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/eval/compare.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/models/generate.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kPieces = 128;  // whose gradients are taken
constexpr std::int64_t kRows = 256;    // rows whose logits exist at the same time
constexpr const char* kProbe = "rank terms";

/// Takes an adapter off and puts the other on again, however the work ends.
class Probe {
 public:
  Probe(lora::Adapter probe, lora::Adapter& instead_of) : probe_(std::move(probe)), whole_(instead_of) {
    whole_.set_enabled(false);
  }
  ~Probe() {
    probe_.detach();
    whole_.set_enabled(true);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  lora::Adapter& adapter() { return probe_; }

 private:
  lora::Adapter probe_;
  lora::Adapter& whole_;
};

lora::SlotTable table_of(const models::DecoderImpl& decoder) { return decoder.slot_table(); }

/// As the layers stand in the model, and so in an adapter that is attached: in one that was read, those that target_parameters names are last.
std::vector<lora::RankTerms> in_order(std::vector<lora::RankTerms> terms, const lora::SlotTable& table) {
  const std::vector<std::string> paths = lora::slot_paths(table);
  const auto place = [&](const lora::RankTerms& one) { return std::find(paths.begin(), paths.end(), one.path) - paths.begin(); };
  std::stable_sort(terms.begin(), terms.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
  return terms;
}

std::vector<std::int64_t> all_ranks(const std::vector<lora::RankTerms>& terms) {
  std::vector<std::int64_t> ranks;
  for (const lora::RankTerms& one : terms) ranks.push_back(one.count());
  return ranks;
}

/// Labels of a batch drawn by the model, where there are labels.
at::Tensor drawn_labels(models::DecoderImpl& decoder, const at::Tensor& hidden, const at::Tensor& labels,
                        std::uint64_t seed, std::uint64_t piece) {
  const at::NoGradGuard no_grad;
  models::GenerateOptions options;
  options.temperature = 1;
  options.seed = seed;
  std::vector<std::int64_t> drawn = kernels::to_host<std::int64_t>(labels);
  for (std::int64_t begin = 0; begin < labels.size(0); begin += kRows) {
    const std::int64_t end = std::min(begin + kRows, labels.size(0));
    const at::Tensor logits = decoder.logits(hidden.detach().slice(0, begin, end));
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t& label = drawn[static_cast<std::size_t>(i)];
      if (label == -100) continue;
      label = models::sample(logits.select(0, i - begin), options, {}, static_cast<std::uint64_t>(i), piece);
    }
  }
  return kernels::from_host<std::int64_t>(drawn, labels.sizes());
}

/// Sums of M Mᵀ and Mᵀ M over pieces, M the gradient in the coefficients of left · M · right.
struct Moments {
  at::Tensor left, right;
};

void add_gradients(const std::vector<lora::RankTerms>& terms, const lora::Adapter& probe,
                   std::vector<Moments>& moments) {
  const at::NoGradGuard no_grad;
  kernels::for_row_chunks(static_cast<std::int64_t>(terms.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      at::Tensor b = probe.at(probe.slots()[i]).b;
      // With A = right: the gradient of B is s·G rightᵀ, G that of ΔW.
      const at::Tensor m = terms[i].left.t().matmul(b.grad().to(at::kCPU, at::kDouble)).div(terms[i].scale);
      moments[i].left.add_(m.matmul(m.t()));
      moments[i].right.add_(m.t().matmul(m));
    }
  });
}

lora::Curvature curvature_of(const Moments& sums, std::int64_t tokens) {
  // E[M Mᵀ] = L · tr R and E[Mᵀ M] = R · tr L for M of moments L ⊗ R: both have the trace tr L · tr R.
  const double root = std::sqrt(std::max(sums.left.trace().item<double>(), 1e-300) * static_cast<double>(tokens));
  return {sums.left.div(root), sums.right.div(root)};
}

}  // namespace

std::vector<lora::RankTerms> terms_by_divergence(models::DecoderImpl& decoder, lora::Adapter& adapter,
                                                 const data::Dataset& data, std::uint64_t seed,
                                                 core::ProgressObserver* progress) {
  const lora::SlotTable table = table_of(decoder);
  std::vector<lora::RankTerms> terms = in_order(lora::rank_terms(adapter), table);
  Probe probe(lora::attach_terms(table, adapter.config(), terms, all_ranks(terms), kProbe), adapter);
  std::vector<Moments> moments;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const lora::LoraMatrices& lora = probe.adapter().at(probe.adapter().slots()[i]);
    lora.a.detach().copy_(terms[i].right);
    lora.b.detach().copy_(terms[i].left.mul(terms[i].sizes).div(terms[i].scale));
    lora.a.set_requires_grad(false);
    if (lora.magnitude.defined()) lora.magnitude.set_requires_grad(false);
    const at::Tensor none = kernels::aten::zeros({terms[i].count(), terms[i].count()}, terms[i].left.options());
    moments.push_back({none, none.clone()});
  }

  std::vector<std::uint32_t> counted;
  for (std::uint32_t i = 0; i < data.examples.size(); ++i) {
    if (data.examples.counted(i) > 0) counted.push_back(i);
  }
  if (counted.empty()) throw DataError("there is nothing to measure on: no token is predicted in the data set");
  const auto pieces = std::min<std::int64_t>(kPieces, static_cast<std::int64_t>(counted.size()));
  if (progress != nullptr) progress->begin("measuring what each direction is worth", pieces, "pieces");
  std::int64_t tokens = 0;
  for (std::int64_t n = 0; n < pieces; ++n) {
    const std::uint32_t which[] = {
        counted[counted.size() * static_cast<std::size_t>(n) / static_cast<std::size_t>(pieces)]};
    const data::Batch batch = data::make_batch(data.examples, which);
    const at::Tensor hidden = decoder.hidden(batch.ids, batch.segments);
    const at::Tensor labels = drawn_labels(decoder, hidden, batch.labels, seed, which[0]);
    for (const lora::LinearSlot& slot : probe.adapter().slots())
      at::Tensor(probe.adapter().at(slot).b).mutable_grad().reset();
    decoder.token_losses(hidden, labels).sum().backward();  // the sum only carries a gradient of ones
    add_gradients(terms, probe.adapter(), moments);
    tokens += batch.counted;
    if (progress != nullptr) progress->advance(n + 1);
  }
  if (progress != nullptr) progress->end();
  for (std::size_t i = 0; i < terms.size(); ++i) terms[i] = lora::weighted(terms[i], curvature_of(moments[i], tokens));
  return terms;
}

Change divergence(models::DecoderImpl& decoder, lora::Adapter& adapter, lora::Adapter* other,
                  const data::Dataset& data) {
  const auto losses =
      compare({{"the adapter", &decoder, &adapter}, {"its approximation", &decoder, other}}, data, units_of(data));
  adapter.set_enabled(true);
  std::vector<double> sums, counts;
  for (const UnitLoss& unit : losses[1]) {
    if (unit.tokens == 0) continue;
    sums.push_back(unit.kl);
    counts.push_back(static_cast<double>(unit.tokens));
  }
  return mean_change(sums, counts);
}

Change divergence(models::DecoderImpl& decoder, lora::Adapter& adapter, const std::vector<lora::RankTerms>& terms,
                  const std::vector<std::int64_t>& ranks, const data::Dataset& data) {
  Probe probe(lora::attach_terms(table_of(decoder), adapter.config(), terms, ranks, kProbe), adapter);
  return divergence(decoder, adapter, &probe.adapter(), data);
}

RankChoice choose_ranks(models::DecoderImpl& decoder, lora::Adapter& adapter, const std::vector<lora::RankTerms>& terms,
                        const data::Dataset& data, double bound, core::ProgressObserver* progress) {
  // What may go: by predicted divergence for a number saved, the last of a layer before its first.
  std::vector<std::tuple<double, std::size_t, std::int64_t>> leaving;
  bool one_stays = false;
  for (std::size_t layer = 0; layer < terms.size(); ++layer) {
    const lora::RankTerms& one = terms[layer];
    const bool magnitude = one.magnitude.defined();
    one_stays = one_stays || magnitude;
    const auto numbers = static_cast<double>(one.left.size(0) + one.right.size(1));
    for (std::int64_t i = magnitude ? 1 : 0; i < one.count(); ++i)
      leaving.emplace_back(one.size(i) * one.size(i) / numbers, layer, -i);
  }
  std::sort(leaving.begin(), leaving.end());
  if (!one_stays) leaving.pop_back();
  const auto ranks_without = [&](std::size_t gone) {
    std::vector<std::int64_t> ranks = all_ranks(terms);
    for (std::size_t n = 0; n < gone; ++n) --ranks[std::get<1>(leaving[n])];
    return ranks;
  };

  const auto steps = static_cast<std::int64_t>(std::ceil(std::log2(static_cast<double>(leaving.size()) + 1))) + 1;
  if (progress != nullptr) progress->begin("choosing ranks", steps, "measurements");
  std::int64_t measured = 0;
  const auto measure = [&](std::size_t gone) {
    const Change kl = divergence(decoder, adapter, terms, ranks_without(gone), data);
    if (progress != nullptr) progress->advance(std::min(++measured, steps));
    return kl;
  };
  std::size_t low = 0, high = leaving.size() + 1;  // `low` holds the bound, `high` does not
  RankChoice choice{ranks_without(0), measure(0)};
  while (choice.kl.upper <= bound && high - low > 1) {
    const std::size_t gone = low + (high - low) / 2;
    const Change kl = measure(gone);
    if (kl.upper <= bound) {
      low = gone;
      choice = {ranks_without(gone), kl};
    } else {
      high = gone;
    }
  }
  if (progress != nullptr) progress->end();
  return choice;
}

}  // namespace lowrank::eval
