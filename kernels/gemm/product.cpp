#include "lowrank/kernels/gemm/product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"
#include "lowrank/kernels/gemm/bf16_product.h"
#include "lowrank/kernels/gemm/kept.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/scratch.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels::gemm {

namespace {

constexpr std::int64_t kInner = 320;                // steps of a sum that stay in registers, at most: a panel of the right
                                                    // operand stays in the nearest cache
constexpr std::int64_t kGroupFloats = 48 * 1024;    // of the left panels that pass over it: they stay in the next
constexpr std::int64_t kRightFloats = 160 * 1024;   // of a packed right operand: what an L2 cache has room for
constexpr std::int64_t kLeftRows = 1152;            // rows whose packed form exists at a time, at most
constexpr std::int64_t kLeftFloats = 6'000'000;     // and its steps together, where 256 rows are not more
constexpr std::int64_t kLongInner = 4096;           // steps of a sum that passes over its left operand in parts

// Steps [offset, offset + count) of the left operand of some rows: packed panels of the kernel's height, or fp32 rows
// where they lie.
struct Piece {
  std::int64_t offset, count;
  const float* data;
  std::int64_t panel_step, row, step;  // floats from panel to panel, row to row and step to step
  float* memory = nullptr;             // data, where it is packed

  static Piece packed(const MicroKernel& kernel, std::int64_t offset, std::int64_t count, float* memory) {
    return {offset, count, memory, count * kernel.rows, 1, kernel.rows, memory};
  }
  static Piece lying(const MicroKernel& kernel, std::int64_t offset, const at::Tensor& x, std::int64_t row) {
    const std::int64_t stride = x.stride(0);
    return {offset, x.size(1), x.const_data_ptr<float>() + row * stride, kernel.rows * stride, stride, 1};
  }
  // Of a panel, from a step of the left operand on.
  const float* at(std::int64_t panel, std::int64_t k) const { return data + panel * panel_step + (k - offset) * step; }
};

struct Left {
  const MicroKernel& kernel;
  std::int64_t rows;
  std::vector<Piece> pieces;

  std::int64_t panels() const { return ceil_div(rows, kernel.rows); }
  std::int64_t height(std::int64_t panel) const { return std::min<std::int64_t>(kernel.rows, rows - panel * kernel.rows); }
  const Piece& piece(std::int64_t k) const {
    return *std::find_if(pieces.begin(), pieces.end(),
                         [k](const Piece& piece) { return piece.offset <= k && k < piece.offset + piece.count; });
  }
};

struct PackedSide {
  const Side* side;
  const float* factor;  // panels of the kernel's width
  std::int64_t inner, rank;
};

// out[rows of a panel] = panel · factor.
void side_product(const MicroKernel& kernel, const Piece& piece, std::int64_t panel, std::int64_t height,
                  std::int64_t from, const PackedSide& packed, float* out) {
  Tile tile;
  tile.c_step = packed.side->out.stride(0);
  tile.rows = static_cast<int>(height);
  for (std::int64_t column = 0; column < packed.rank; column += kernel.columns) {
    tile.first = {packed.inner, piece.at(panel, from), packed.factor + column * packed.inner,
                  piece.step,   kernel.columns,        piece.row};
    tile.c = out + column;
    tile.columns = static_cast<int>(std::min<std::int64_t>(kernel.columns, packed.rank - column));
    kernel.tile(tile);
  }
}

// What is packed of panels [begin, end), from the first row of all on, and the sides of their rows.
void pack_left(const Left& left, std::int64_t first_row, std::int64_t begin, std::int64_t end,
               const std::vector<LeftPart>& parts, const std::vector<PackedSide>& sides) {
  const MicroKernel& kernel = left.kernel;
  for (const LeftPart& part : parts) {
    const Piece& piece = left.piece(part.offset);
    if (piece.memory == nullptr) continue;
    const Source x = source_of(part.x);
    for (std::int64_t p = begin; p < end; ++p) {
      kernel.pack(moved(x, first_row + p * kernel.rows, 0), left.height(p), part.x.size(1), 1,
                  piece.memory + p * piece.panel_step, left.height(p), kernel.rows);
    }
  }
  for (const PackedSide& packed : sides) {
    const Side& side = *packed.side;
    const std::int64_t out_step = side.out.stride(0);
    float* const out = side.out.mutable_data_ptr<float>() + first_row * out_step;
    if (side.dropout.p == 0) {
      const Piece& piece = left.piece(side.from);
      for (std::int64_t p = begin; p < end; ++p)
        side_product(kernel, piece, p, left.height(p), side.from, packed, out + p * kernel.rows * out_step);
      continue;
    }
    const std::int64_t row = first_row + begin * kernel.rows, rows = std::min(end * kernel.rows, left.rows) - begin * kernel.rows;
    const at::Tensor& x = parts.front().x;
    const at::Tensor dropped = aten::empty({rows, packed.inner}, x.options().dtype(at::kFloat));
    dropped.copy_(x.narrow(0, row, rows));
    drop_tile(dropped, side.dropout, row, 0);
    const Piece piece = Piece::lying(kernel, 0, dropped, 0);
    for (std::int64_t p = begin; p < end; ++p)
      side_product(kernel, piece, p - begin, left.height(p), 0, packed, out + p * kernel.rows * out_step);
  }
}

// A block's panels: those that are kept, or packed now.
struct BlockPanels {
  const float* data;
  std::int64_t step;  // floats from one panel to the next
};

// Columns [column, column + columns) of a target, over row panels [first, last).
struct Task {
  const Target* target;
  const std::vector<BlockPanels>* kept;  // of each of the target's terms; null data: none
  std::int64_t column, columns, first, last;
};

// A cut of a target's sum.
struct Block {
  const Term* term;
  std::int64_t begin, count;  // of the term's steps
};

std::vector<Block> blocks_of(const Target& target) {
  std::vector<Block> blocks;
  for (const Term& term : target.terms) {
    const std::int64_t inner = term.right.inner(), cuts = std::max<std::int64_t>(ceil_div(inner, kInner), 1);
    const std::int64_t step = round_up(ceil_div(inner, cuts), 4);
    for (std::int64_t k = 0; k < inner; k += step) blocks.push_back({&term, k, std::min(step, inner - k)});
  }
  return blocks;
}

// What is between a target's first term and the others, of rows [row, row + rows) of a task's columns.
void end_first(const MicroKernel& kernel, const Term& term, std::int64_t row, std::int64_t rows, const Task& task,
               float* sums, std::int64_t width) {
  const at::Tensor& product = term.product;
  const float* const gain = term.gain.defined() ? term.gain.const_data_ptr<float>() + task.column : nullptr;
  for (std::int64_t r = 0; r < rows; ++r, sums += width) {
    if (product.defined()) {
      const std::int64_t at = (row + r) * product.stride(0) + task.column;
      if (product.scalar_type() == at::kFloat) {
        std::copy(sums, sums + task.columns, product.mutable_data_ptr<float>() + at);
      } else {
        kernel.round_row(sums, task.columns, static_cast<std::uint16_t*>(product.mutable_data_ptr()) + at);
      }
    }
    for (std::int64_t j = 0; gain != nullptr && j < task.columns; ++j) sums[j] *= gain[j];
  }
}

void run(const Task& task, const Left& left, std::int64_t first_row) {
  const MicroKernel& kernel = left.kernel;
  const Target& target = *task.target;
  const std::int64_t first = task.first * kernel.rows, rows = std::min(task.last * kernel.rows, left.rows) - first;
  const bool direct = target.out.scalar_type() == at::kFloat;
  const std::int64_t width = direct ? target.out.stride(0) : round_up(task.columns, kernel.columns);
  float* const sums = direct ? target.out.mutable_data_ptr<float>() + (first_row + first) * width + task.column
                             : scratch(Purpose::kSums, rows * width);
  const float* const bias = target.bias.defined() ? target.bias.const_data_ptr<float>() + task.column : nullptr;

  const std::vector<Block> blocks = blocks_of(target);
  const Term* term = nullptr;
  at::Tensor right;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    const BlockPanels& kept = (*task.kept)[static_cast<std::size_t>(block.term - target.terms.data())];
    if (block.term != term) {
      term = block.term;
      if (kept.data == nullptr) right = term->right.at(task.column, task.columns);
    }
    // A thin last block is summed in the same registers as the one before it.
    const bool between = (term->gain.defined() || term->product.defined()) && blocks[i + 1].term != term;
    const bool tail = i + 2 == blocks.size() && blocks[i + 1].count <= 64 && !between;
    const std::int64_t more = tail ? blocks[i + 1].count : 0;
    const std::int64_t wide = round_up(task.columns, kernel.columns);
    const std::int64_t packed = kept.data == nullptr ? block.count : 0;
    float* const memory = scratch(Purpose::kRight, (packed + more) * wide);
    BlockPanels panels{memory, block.count * kernel.columns};
    if (packed > 0) {
      pack_right(kernel, right, term->right.first() + block.begin, block.count, term->right.scale(), memory);
    } else {
      panels = {kept.data + task.column / kernel.columns * kept.step + block.begin * kernel.columns, kept.step};
    }
    float* const tail_panels = memory + packed * wide;
    if (tail) {
      const Right& thin = blocks[i + 1].term->right;
      pack_right(kernel, thin.at(task.column, task.columns), thin.first() + blocks[i + 1].begin, more, thin.scale(), tail_panels);
    }
    const bool last = i + 1 + (tail ? 1 : 0) == blocks.size();
    Tile tile;
    tile.c_step = width;
    tile.accumulate = i > 0 || target.accumulate;
    const std::int64_t begin = term->offset + block.begin;
    const std::int64_t tail_begin = tail ? blocks[i + 1].term->offset + blocks[i + 1].begin : begin;
    const Piece &piece = left.piece(begin), &tail_piece = left.piece(tail_begin);
    tile.first = {block.count, nullptr, nullptr, piece.step, kernel.columns, piece.row};
    tile.second = {more, nullptr, nullptr, tail_piece.step, kernel.columns, tail_piece.row};
    const std::int64_t group = std::max<std::int64_t>(kGroupFloats / (block.count * kernel.rows), 1);
    for (std::int64_t panel = task.first; panel < task.last; panel += group) {
      const std::int64_t end = std::min(panel + group, task.last);
      for (std::int64_t column = 0; column < task.columns; column += kernel.columns) {
        tile.first.b = panels.data + column / kernel.columns * panels.step;
        tile.second.b = tail_panels + column * more;
        tile.bias = last && bias != nullptr ? bias + column : nullptr;
        tile.columns = static_cast<int>(std::min<std::int64_t>(kernel.columns, task.columns - column));
        for (std::int64_t p = panel; p < end; ++p) {
          tile.rows = static_cast<int>(left.height(p));
          tile.first.a = piece.at(p, begin);
          tile.second.a = tail_piece.at(p, tail_begin);
          tile.c = sums + (p - task.first) * kernel.rows * width + column;
          kernel.tile(tile);
        }
      }
    }
    if (between) end_first(kernel, *term, first_row + first, rows, task, sums, width);
    if (tail) ++i;
  }
  if (direct) return;
  auto* const out = static_cast<std::uint16_t*>(target.out.mutable_data_ptr()) +
                    (first_row + first) * target.out.stride(0) + task.column;
  for (std::int64_t r = 0; r < rows; ++r)
    kernel.round_row(sums + r * width, task.columns, out + r * target.out.stride(0));
}

std::vector<Task> tasks_of(const std::vector<Target>& targets, const std::vector<std::vector<BlockPanels>>& kept,
                           const Left& left) {
  const std::int64_t width = left.kernel.columns, most = std::max<std::int64_t>(kRightFloats / (kInner * width), 1);
  std::vector<std::int64_t> columns;
  for (const Target& target : targets) columns.push_back(target.out.size(1));
  std::vector<Task> tasks;
  for (const Cut& cut : cuts_of(columns, std::vector<std::int64_t>(targets.size(), most), width, left.panels()))
    tasks.push_back({&targets[cut.of], &kept[cut.of], cut.column, cut.columns, cut.first, cut.last});
  return tasks;
}

}  // namespace

bool takes(at::ScalarType dtype, std::int64_t rows) {
  const GemmPath path = gemm_path();
  return dtype == at::kFloat && rows >= kFewestRows && (path == GemmPath::kOwn || path == GemmPath::kNativeBf16);
}

bool in_bf16(at::ScalarType left) {
  return left == at::kBFloat16 && gemm_path() == GemmPath::kNativeBf16 && bf16_kernel() != nullptr;
}

bool in_parts(at::ScalarType left, at::ScalarType stored) {
  return left == at::kFloat && stored == at::kBFloat16 && gemm_path() == GemmPath::kNativeBf16 && bf16_kernel() != nullptr && bf16_kernel()->multiplies_parts;
}

Right Right::of(BaseWeight w) {
  Right right;
  right.inner_ = w.out_features();
  right.columns_ = w.in_features();
  right.weight_ = std::move(w);
  return right;
}

Right Right::of_transposed(BaseWeight w) {
  Right right;
  right.inner_ = w.in_features();
  right.columns_ = w.out_features();
  right.weight_ = std::move(w);
  right.transposed_ = true;
  return right;
}

Right Right::of_matrix(at::Tensor b, double scale) {
  Right right;
  right.inner_ = b.size(0);
  right.columns_ = b.size(1);
  right.matrix_ = packable(b) ? std::move(b) : b.contiguous();
  right.scale_ = static_cast<float>(scale);
  return right;
}

Right Right::steps(std::int64_t begin, std::int64_t n) const {
  Right part = *this;
  part.first_ += begin;
  part.inner_ = n;
  return part;
}

const float* Right::kept(PanelStore& store, std::int64_t* step) const {
  if (!weight_.defined()) return nullptr;
  const float* const all = kept_panels(store, weight_, transposed_);
  const std::int64_t columns = micro_kernel().columns;
  *step = (transposed_ ? weight_.in_features() : weight_.out_features()) * columns;
  return all == nullptr ? nullptr : all + first_ * columns;
}

at::ScalarType Right::stored() const { return matrix_.defined() ? matrix_.scalar_type() : panel_dtype(weight_); }

const Bf16* Right::kept_bf16(PanelStore& store, std::int64_t parts) const {
  const bool all = weight_.defined() && inner_ == (transposed_ ? weight_.in_features() : weight_.out_features());
  return all ? kept_bf16_panels(store, weight_, transposed_, parts) : nullptr;
}

at::Tensor Right::at(std::int64_t begin, std::int64_t n) const {
  if (matrix_.defined()) return matrix_.narrow(1, begin, n);
  const auto dtype = panel_dtype(weight_);
  const at::Tensor b = transposed_ ? weight_.rows(begin, n, dtype).t() : weight_.columns(begin, n, dtype);
  return packable(b) ? b : b.contiguous();
}

void multiply(std::int64_t rows, std::int64_t inner, const std::vector<LeftPart>& left, const std::vector<Side>& sides,
              const std::vector<Target>& targets) {
  if (rows == 0) return;
  std::vector<LeftPart> parts = left;
  for (LeftPart& part : parts) {
    if (part.x.stride(1) != 1 && part.x.size(1) > 1) part.x = part.x.contiguous();
  }
  if (in_bf16(parts.front().rounds ? at::kBFloat16 : parts.front().x.scalar_type())) return multiply_bf16(rows, inner, parts, sides, targets, 1);
  const bool apart = std::all_of(targets.begin(), targets.end(), [&](const Target& target) {
    return in_parts(parts.front().x.scalar_type(), target.terms.front().right.stored());
  });
  if (apart && !targets.empty()) return multiply_bf16(rows, inner, parts, sides, targets, kFloatParts);
  const MicroKernel& kernel = micro_kernel();
  std::vector<Floats> factors;
  std::vector<PackedSide> packed;
  for (const Side& side : sides) {
    const std::int64_t k = side.factor.size(0), rank = side.factor.size(1);
    factors.emplace_back(k * round_up(rank, kernel.columns));
    pack_right(kernel, packable(side.factor) ? side.factor : side.factor.contiguous(), 0, k, 1, factors.back().data());
    packed.push_back({&side, factors.back().data(), k, rank});
  }
  const std::shared_ptr<PanelStore> store = panel_store();
  std::vector<std::vector<BlockPanels>> kept(targets.size());
  for (std::size_t t = 0; t < targets.size(); ++t) {
    for (const Term& term : targets[t].terms) {
      BlockPanels& panels = kept[t].emplace_back(BlockPanels{nullptr, 0});
      if (store != nullptr) panels.data = term.right.kept(*store, &panels.step);
    }
  }
  const std::int64_t most = std::clamp<std::int64_t>(kLeftFloats / std::max<std::int64_t>(inner, 1), 256, kLeftRows);
  const std::int64_t cuts = ceil_div(rows, most), step = round_up(ceil_div(rows, cuts), kernel.rows);
  const std::int64_t high = round_up(std::min(step, rows), kernel.rows);
  std::int64_t packed_steps = 0;
  for (const LeftPart& part : parts) packed_steps += lies_well(part.x) ? 0 : part.x.size(1);
  float* const memory = scratch(Purpose::kLeft, packed_steps * high);
  for (std::int64_t row = 0; row < rows; row += step) {
    Left some{kernel, std::min(step, rows - row), {}};
    float* next = memory;
    for (const LeftPart& part : parts) {
      if (lies_well(part.x)) {
        some.pieces.push_back(Piece::lying(kernel, part.offset, part.x, row));
      } else {
        some.pieces.push_back(Piece::packed(kernel, part.offset, part.x.size(1), next));
        next += part.x.size(1) * high;
      }
    }
    for (const Side& side : sides) some.pieces.push_back(Piece::lying(kernel, side.at, side.out, row));
    constexpr std::int64_t kPanels = 4;  // a task
    if (packed_steps > 0 || !sides.empty()) {
      for_tasks(ceil_div(some.panels(), kPanels), [&](std::int64_t task) {
        pack_left(some, row, task * kPanels, std::min((task + 1) * kPanels, some.panels()), parts, packed);
      });
    }
    const std::vector<Task> tasks = tasks_of(targets, kept, some);
    for_tasks(static_cast<std::int64_t>(tasks.size()),
              [&](std::int64_t task) { run(tasks[static_cast<std::size_t>(task)], some, row); });
  }
}

void multiply(const at::Tensor& out, const at::Tensor& x, const Right& right, bool rounds) {
  const std::int64_t rows = x.size(0), inner = x.size(1);
  for (std::int64_t k = 0; k < inner; k += kLongInner) {
    const std::int64_t n = std::min(kLongInner, inner - k);
    multiply(rows, n, {{x.narrow(1, k, n), 0, rounds}}, {}, {{out, {{0, right.steps(k, n)}}, {}, /*accumulate=*/k > 0}});
  }
}

}  // namespace lowrank::kernels::gemm
