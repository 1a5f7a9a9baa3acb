#include "lowrank/kernels/gemm/bf16_product.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"
#include "lowrank/kernels/gemm/kept.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/scratch.h"

namespace lowrank::kernels::gemm {

namespace {

constexpr std::int64_t kLeftElements = 4'000'000;      // of a left operand that is copied: rows that exist at a time
constexpr std::int64_t kMostRows = 4096;               // and at most
constexpr std::int64_t kGroupElements = 192 * 1024;    // of left rows that pass over one panel after the other
constexpr std::int64_t kRightElements = 512 * 1024;    // of a task's panels: what an L2 cache has room for
constexpr std::int64_t kSplitSteps = 128;              // of a panel that are taken apart at a time: in the nearest cache
constexpr std::int64_t kOuterRows = 1024;              // of y that are packed at a time
constexpr std::int64_t kHalf = kBf16Columns / 2;       // thin columns of a panel: each is there twice

std::int64_t whole_steps(std::int64_t k) { return round_up(k, kBf16Steps); }
std::int64_t whole_rows(std::int64_t n) { return round_up(n, kBf16Rows); }

/// Elements in a thread's own memory for one purpose.
Bf16* room(Purpose purpose, std::int64_t elements) { return reinterpret_cast<Bf16*>(scratch(purpose, (elements + 1) / 2)); }

/// Part of the left operand: rows of bf16, as they lie or copied.
struct Rows {
  std::int64_t offset, count;  // steps
  const Bf16* data;
  std::int64_t row;    // elements from row to row
  std::int64_t whole;  // tiles that are read there; what is left of rows that lie is in `last`
  Bf16* last;
  std::int64_t last_row;
  Bf16* copy;  // data, where it is a copy: whole tiles with zeros at the ends
  std::int64_t parts = 1, apart = 0;  // of a copy, and elements from one to the next

  static Rows lying(const LeftPart& part, std::int64_t first_row, std::int64_t rows, Bf16* last, std::int64_t last_row) {
    const std::int64_t step = part.x.stride(0);
    return {part.offset, part.x.size(1), bits_of(part.x) + first_row * step, step, rows / kBf16Rows, last, last_row, nullptr};
  }
  static Rows copied(std::int64_t offset, std::int64_t count, std::int64_t tiles, Bf16* memory, std::int64_t row, std::int64_t parts) {
    return {offset, count, memory, row, tiles, nullptr, 0, memory, parts, tiles * kBf16Rows * row};
  }
  void place(std::int64_t tile, Bf16Range& range) const {
    range.a = tile < whole ? data + tile * kBf16Rows * row : last;
    range.a_row = tile < whole ? row : last_row;
    range.a_parts = parts;
    range.a_apart = apart;
  }
};

struct Left {
  std::int64_t rows;
  std::vector<Rows> parts;
  std::int64_t tiles() const { return ceil_div(rows, kBf16Rows); }
  const Rows& at(std::int64_t offset, std::int64_t count) const {
    for (const Rows& part : parts)
      if (part.offset == offset && part.count == count) return part;
    throw InternalError("kernels::gemm: a product takes steps that no part of the left operand has");
  }
};

/// Rows that AMX and the caches read well where they are.
bool lies(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && x.size(1) % kBf16Steps == 0 && x.stride(0) % 2048 != 0;
}

/// Rows [begin, begin + n) of x in `parts` of bf16, each with zeros up to `width`, and rows of zeros to a whole tile.
void copy_rows(const Bf16Kernel& kernel, const at::Tensor& x, std::int64_t begin, std::int64_t n, std::int64_t width, Bf16* to,
               std::int64_t parts = 1, std::int64_t apart = 0) {
  const std::int64_t columns = x.size(1);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t at = (begin + i) * x.stride(0);
    if (x.scalar_type() == at::kBFloat16) {
      std::copy_n(bits_of(x) + at, columns, to + i * width);
    } else {
      kernel.split(x.const_data_ptr<float>() + at, columns, 1, to + i * width, apart, parts);
    }
    for (std::int64_t p = 0; p < parts; ++p) std::fill_n(to + p * apart + i * width + columns, width - columns, Bf16{0});
  }
  for (std::int64_t p = 0; p < parts; ++p) std::fill_n(to + p * apart + n * width, (kBf16Rows - n) * width, Bf16{0});
}

constexpr std::int64_t kFactorParts = 2;

/// A thin factor [K, r] as panels of kHalf of its columns, their first parts before their second ones.
std::vector<Bf16> packed_factor(const Bf16Kernel& kernel, const at::Tensor& factor) {
  const at::Tensor by_column = factor.t().to(at::kFloat).contiguous();  // [r, K]
  const std::int64_t steps = by_column.size(1), rank = by_column.size(0), panel = kBf16Columns * whole_steps(steps);
  std::vector<Bf16> packed(static_cast<std::size_t>(ceil_div(rank, kHalf) * panel));
  std::vector<Bf16> apart(static_cast<std::size_t>(kBf16Columns * steps));
  for (std::int64_t first = 0; first < rank; first += kHalf) {
    const std::int64_t n = std::min(kHalf, rank - first);
    if (n < kHalf) std::fill(apart.begin(), apart.end(), Bf16{0});
    for (std::int64_t j = 0; j < n; ++j)
      kernel.split(by_column.const_data_ptr<float>() + (first + j) * steps, steps, 1, apart.data() + j * steps, kHalf * steps, kFactorParts);
    kernel.pack_columns(apart.data(), steps, kBf16Columns, steps, packed.data() + first / kHalf * panel);
  }
  return packed;
}

// A tile of rows of a side: its fp32 result, and the copy of it that terms multiply.
void side_product(const Bf16Kernel& kernel, const Left& left, std::int64_t first_row, std::int64_t tile, const Side& side,
                  const std::vector<Bf16>& factor) {
  const Rows& own = left.at(side.at, side.out.size(1));
  const std::int64_t rank = side.out.size(1), steps = whole_steps(side.factor.size(0)), step = side.out.stride(0);
  const std::int64_t row = tile * kBf16Rows, height = std::min(kBf16Rows, left.rows - row);
  alignas(64) float sums[kBf16Rows * kBf16Columns];
  float* const out = side.out.mutable_data_ptr<float>() + (first_row + row) * step;
  Bf16Range range{steps, nullptr, 0, factor.data()};
  left.at(side.from, side.factor.size(0)).place(tile, range);
  for (std::int64_t column = 0; column < rank; column += kHalf, range.b += kBf16Columns * steps) {
    kernel.tile(&range, 1, sums, kBf16Columns, false);
    const std::int64_t n = std::min(kHalf, rank - column);
    for (std::int64_t i = 0; i < height; ++i) {
      float* const line = sums + i * kBf16Columns;
      for (std::int64_t j = 0; j < n; ++j) out[i * step + column + j] = line[j] + line[kHalf + j];
    }
  }
  copy_rows(kernel, side.out, first_row + row, height, own.row, own.copy + row * own.row, own.parts, own.apart);
}

// What the products of a tile of rows read: copies of what does not lie well, and the sides.
void prepare(const Bf16Kernel& kernel, const Left& left, std::int64_t first_row, std::int64_t tile, const std::vector<LeftPart>& parts,
             const std::vector<Side>& sides, const std::vector<std::vector<Bf16>>& factors) {
  const std::int64_t row = tile * kBf16Rows, height = std::min(kBf16Rows, left.rows - row);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Rows& own = left.parts[i];
    if (own.copy != nullptr) {
      copy_rows(kernel, parts[i].x, first_row + row, height, own.row, own.copy + row * own.row, own.parts, own.apart);
    } else if (tile == own.whole) {
      copy_rows(kernel, parts[i].x, first_row + row, height, own.last_row, own.last);
    }
  }
  for (std::size_t i = 0; i < sides.size(); ++i) {
    const Rows& own = left.parts[parts.size() + i];
    if (!factors[i].empty()) {
      side_product(kernel, left, first_row, tile, sides[i], factors[i]);
    } else {
      copy_rows(kernel, sides[i].out, first_row + row, height, own.row, own.copy + row * own.row, own.parts, own.apart);
    }
  }
}

// Columns [column, column + columns) of a target, over tiles of rows [first, last).
struct Task {
  const Target* target;
  const std::vector<const Bf16*>* kept;  // all panels of each of its terms; null: none
  std::int64_t column, columns, first, last;
};

/// Steps of a target's panels, all terms and their parts after each other.
std::int64_t steps_of(const Target& target, std::int64_t parts) {
  std::int64_t steps = 0;
  for (const Term& term : target.terms) steps += term.right.bf16_parts(parts) * whole_steps(term.right.inner());
  return steps;
}

// What is between a target's first term and the others, of one tile.
void end_first(const Bf16Kernel& kernel, const Term& term, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
               float* sums) {
  const at::Tensor& product = term.product;
  if (product.defined()) {
    const std::int64_t at = row * product.stride(0) + column;
    if (product.scalar_type() == at::kFloat) {
      for (std::int64_t i = 0; i < rows; ++i)
        std::copy_n(sums + i * kBf16Columns, columns, product.mutable_data_ptr<float>() + at + i * product.stride(0));
    } else {
      kernel.store(sums, rows, columns, nullptr, static_cast<Bf16*>(product.mutable_data_ptr()) + at, product.stride(0));
    }
  }
  if (!term.gain.defined()) return;
  const float* const gain = term.gain.const_data_ptr<float>() + column;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) sums[i * kBf16Columns + j] *= gain[j];
}

// A tile's sums go into its target.
void end_tile(const Bf16Kernel& kernel, const Target& target, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
              const float* sums) {
  const float* const bias = target.bias.defined() ? target.bias.const_data_ptr<float>() + column : nullptr;
  const std::int64_t step = target.out.stride(0), at = row * step + column;
  if (target.out.scalar_type() != at::kFloat)
    return kernel.store(sums, rows, columns, bias, static_cast<Bf16*>(target.out.mutable_data_ptr()) + at, step);
  float* out = target.out.mutable_data_ptr<float>() + at;
  for (std::int64_t i = 0; i < rows; ++i, out += step, sums += kBf16Columns) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const float sum = bias != nullptr ? sums[j] + bias[j] : sums[j];
      out[j] = target.accumulate ? out[j] + sum : sum;
    }
  }
}

void run(const Bf16Kernel& kernel, const Task& task, const Left& left, std::int64_t first_row, std::int64_t most_parts) {
  const Target& target = *task.target;
  const std::int64_t stride = steps_of(target, most_parts) * kBf16Columns;
  Bf16* const panels = room(Purpose::kRight, ceil_div(task.columns, kBf16Columns) * stride);
  std::vector<Bf16Range> ranges;
  std::vector<std::int64_t> strides;  // elements from panel to panel
  std::vector<const Rows*> parts;
  std::int64_t offset = 0, left_steps = 0;
  for (std::size_t i = 0; i < target.terms.size(); ++i) {
    const Term& term = target.terms[i];
    const std::int64_t steps = whole_steps(term.right.inner()), of_right = term.right.bf16_parts(most_parts), own = of_right * steps * kBf16Columns;
    parts.push_back(&left.at(term.offset, term.right.inner()));
    left_steps += parts.back()->parts * steps;
    ranges.push_back({.k = steps, .b_parts = of_right, .b_apart = steps * kBf16Columns});
    if (const Bf16* kept = (*task.kept)[i]; kept != nullptr) {
      ranges.back().b = kept + task.column / kBf16Columns * own;
      strides.push_back(own);
      continue;
    }
    pack_bf16(kernel, term.right, task.column, task.columns, of_right, stride, panels + offset);
    ranges.back().b = panels + offset;
    strides.push_back(stride);
    offset += own;
  }
  const Term& first = target.terms.front();
  const bool between = first.gain.defined() || first.product.defined();
  const bool direct = target.out.scalar_type() == at::kFloat && !target.bias.defined() && !between;
  const auto count = static_cast<std::int64_t>(ranges.size());
  const std::int64_t group = std::max<std::int64_t>(kGroupElements / (kBf16Rows * left_steps), 1);
  alignas(64) float sums[kBf16Rows * kBf16Columns];
  kernel.begin();
  for (std::int64_t begin = task.first; begin < task.last; begin += group) {
    const std::int64_t end = std::min(begin + group, task.last);
    for (std::int64_t column = 0, panel = 0; column < task.columns; column += kBf16Columns, ++panel) {
      const std::int64_t columns = std::min(kBf16Columns, task.columns - column), at = task.column + column;
      std::vector<Bf16Range> here = ranges;
      for (std::size_t i = 0; i < here.size(); ++i) here[i].b += panel * strides[i];
      for (std::int64_t tile = begin; tile < end; ++tile) {
        for (std::size_t i = 0; i < here.size(); ++i) parts[i]->place(tile, here[i]);
        const std::int64_t row = tile * kBf16Rows, rows = std::min(kBf16Rows, left.rows - row);
        if (direct && rows == kBf16Rows && columns == kBf16Columns) {
          float* const out = target.out.mutable_data_ptr<float>() + (first_row + row) * target.out.stride(0) + at;
          kernel.tile(here.data(), count, out, target.out.stride(0), target.accumulate);
          continue;
        }
        if (between) {
          kernel.tile(here.data(), 1, sums, kBf16Columns, false);
          end_first(kernel, first, first_row + row, rows, at, columns, sums);
          if (count > 1) kernel.tile(here.data() + 1, count - 1, sums, kBf16Columns, true);
        } else {
          kernel.tile(here.data(), count, sums, kBf16Columns, false);
        }
        end_tile(kernel, target, first_row + row, rows, at, columns, sums);
      }
    }
  }
  kernel.end();
}

std::vector<Task> tasks_of(const std::vector<Target>& targets, const std::vector<std::vector<const Bf16*>>& kept, const Left& left,
                           std::int64_t parts) {
  std::vector<std::int64_t> columns, panels;
  for (const Target& target : targets) {
    columns.push_back(target.out.size(1));
    panels.push_back(std::max<std::int64_t>(kRightElements / std::max<std::int64_t>(steps_of(target, parts) * kBf16Columns, 1), 1));
  }
  std::vector<Task> tasks;
  for (const Cut& cut : cuts_of(columns, panels, kBf16Columns, left.tiles()))
    tasks.push_back({&targets[cut.of], &kept[cut.of], cut.column, cut.columns, cut.first, cut.last});
  return tasks;
}

// A side that is not formed with the rows' tiles: one of a dropped x, and all sides of x in fp32, whose bytes are to be the same where no
// product stands beside them.
void side_before(const std::vector<LeftPart>& left, const Side& side) {
  const auto part = std::find_if(left.begin(), left.end(), [&](const LeftPart& one) {
    return one.offset == side.from && one.x.size(1) == side.factor.size(0);
  });
  const at::Tensor x = dropped_input(part->x, side.dropout);
  multiply(x.size(0), x.size(1) + side.out.size(1), {{x}}, {{side.factor, side.out, 0, x.size(1)}}, {});
}

// The parts, and what products take of them alone: rows of their own, since a product reads whole steps.
std::vector<LeftPart> parts_of(std::vector<LeftPart> parts, const std::vector<Side>& sides, const std::vector<Target>& targets) {
  const std::size_t given = parts.size();
  const auto take = [&](std::int64_t offset, std::int64_t count) {
    const auto same = [&](const LeftPart& part) { return part.offset == offset && part.x.size(1) == count; };
    if (std::any_of(parts.begin(), parts.end(), same)) return;
    for (std::size_t i = 0; i < given; ++i) {
      const std::int64_t from = offset - parts[i].offset;
      if (from < 0 || from + count > parts[i].x.size(1)) continue;
      parts.push_back({parts[i].x.narrow(1, from, count), offset});
      return;
    }
  };
  for (const Side& side : sides) take(side.from, side.factor.size(0));
  for (const Target& target : targets)
    for (const Term& term : target.terms) take(term.offset, term.right.inner());
  return parts;
}

}  // namespace

void pack_bf16(const Bf16Kernel& kernel, const Right& right, std::int64_t first, std::int64_t columns, std::int64_t parts, std::int64_t stride,
               Bf16* to) {
  const at::Tensor b = right.at(first, columns).narrow(0, right.first(), right.inner());
  const std::int64_t inner = right.inner();
  const bool by_column = b.stride(0) == 1 || inner == 1;  // its steps are neighbours
  const std::int64_t plane = kBf16Columns * whole_steps(inner);
  const auto pack = by_column ? kernel.pack_columns : kernel.pack_steps;
  if (b.scalar_type() == at::kBFloat16 && right.scale() == 1) {
    const std::int64_t step = by_column ? b.stride(1) : b.stride(0);
    for (std::int64_t column = 0; column < columns; column += kBf16Columns, to += stride)
      pack(bits_of(b) + column * b.stride(1), step, std::min(kBf16Columns, columns - column), inner, to);
    return;
  }
  const at::Tensor wide = b.scalar_type() == at::kFloat ? b : b.to(at::kFloat);
  const std::int64_t step = by_column ? wide.stride(1) : wide.stride(0), line = by_column ? kSplitSteps : kBf16Columns;
  const std::int64_t apart = kSplitSteps * kBf16Columns;
  Bf16* const split = room(Purpose::kRows, parts * apart);
  for (std::int64_t column = 0; column < columns; column += kBf16Columns, to += stride) {
    const std::int64_t n = std::min(kBf16Columns, columns - column);
    for (std::int64_t k = 0; k < inner; k += kSplitSteps) {
      const std::int64_t some = std::min(kSplitSteps, inner - k), lines = by_column ? n : some, length = by_column ? some : n;
      const float* const from = wide.const_data_ptr<float>() + column * wide.stride(1) + k * wide.stride(0);
      for (std::int64_t i = 0; i < lines; ++i) kernel.split(from + i * step, length, right.scale(), split + i * line, apart, parts);
      for (std::int64_t part = 0; part < parts; ++part) pack(split + part * apart, line, n, some, to + part * plane + k * kBf16Columns);
    }
  }
}

void multiply_bf16(std::int64_t rows, std::int64_t inner, const std::vector<LeftPart>& given, const std::vector<Side>& sides,
                   const std::vector<Target>& targets, std::int64_t parts) {
  const Bf16Kernel& kernel = *bf16_kernel();
  const std::vector<LeftPart> left = parts_of(given, sides, targets);
  std::vector<std::vector<Bf16>> factors;
  for (const Side& side : sides) {
    if (side.dropout.p > 0 || parts > 1) {
      side_before(left, side);
      factors.emplace_back();
    } else {
      factors.push_back(packed_factor(kernel, side.factor));
    }
  }

  const std::shared_ptr<PanelStore> store = panel_store();
  std::vector<std::vector<const Bf16*>> kept(targets.size());
  for (std::size_t t = 0; t < targets.size(); ++t)
    for (const Term& term : targets[t].terms) kept[t].push_back(store != nullptr ? term.right.kept_bf16(*store, term.right.bf16_parts(parts)) : nullptr);

  const std::int64_t most = whole_rows(std::clamp(kLeftElements / std::max<std::int64_t>(parts * inner, 1), std::int64_t{256}, kMostRows));
  const std::int64_t step = whole_rows(ceil_div(rows, ceil_div(rows, most))), high = whole_rows(std::min(step, rows));
  // Elements from row to row of copies: rows 4 KiB apart share few places of the nearest cache.
  const auto width = [](std::int64_t k) { return whole_steps(k) % 2048 == 0 ? whole_steps(k) + kBf16Steps : whole_steps(k); };
  const auto of = [parts](const LeftPart& part) { return part.x.scalar_type() == at::kBFloat16 ? 1 : parts; };
  std::int64_t elements = 0;
  for (const LeftPart& part : left) elements += width(part.x.size(1)) * (lies(part.x) ? kBf16Rows : of(part) * high);
  for (const Side& side : sides) elements += width(side.out.size(1)) * parts * high;
  Bf16* const memory = room(Purpose::kLeft, elements);

  for (std::int64_t row = 0; row < rows; row += step) {
    Left some{std::min(step, rows - row), {}};
    Bf16* next = memory;
    bool prepares = !sides.empty();
    for (const LeftPart& part : left) {
      const std::int64_t own = width(part.x.size(1));
      const bool there = lies(part.x);
      some.parts.push_back(there ? Rows::lying(part, row, some.rows, next, own)
                                 : Rows::copied(part.offset, part.x.size(1), some.tiles(), next, own, of(part)));
      next += own * (there ? kBf16Rows : of(part) * high);
      prepares = prepares || !there || some.rows % kBf16Rows != 0;
    }
    for (const Side& side : sides) {
      const std::int64_t own = width(side.out.size(1));
      some.parts.push_back(Rows::copied(side.at, side.out.size(1), some.tiles(), next, own, parts));
      next += own * parts * high;
    }
    constexpr std::int64_t kTiles = 2;  // a task
    if (prepares) {
      for_tasks(ceil_div(some.tiles(), kTiles), [&](std::int64_t task) {
        kernel.begin();
        for (std::int64_t tile = task * kTiles; tile < std::min((task + 1) * kTiles, some.tiles()); ++tile)
          prepare(kernel, some, row, tile, left, sides, factors);
        kernel.end();
      });
    }
    const std::vector<Task> tasks = tasks_of(targets, kept, some, parts);
    for_tasks(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t task) { run(kernel, tasks[static_cast<std::size_t>(task)], some, row, parts); });
  }
}

// uᵀ is the left operand, each column of it taken apart, and y the right one.
void multiply_outer_bf16(const at::Tensor& out, const at::Tensor& u, const at::Tensor& y, double scale, bool transposed) {
  const Bf16Kernel& kernel = *bf16_kernel();
  const std::int64_t rows = y.size(0), rank = u.size(1), columns = y.size(1), groups = ceil_div(rank, kHalf);
  const std::int64_t row = whole_steps(rows) + kBf16Steps;  // not a power of two apart
  Bf16* const left = room(Purpose::kLeft, groups * kBf16Rows * row);
  std::fill_n(left, groups * kBf16Rows * row, Bf16{0});
  const at::Tensor thin = u.t().contiguous();
  for (std::int64_t r = 0; r < rank; ++r) {
    Bf16* const first = left + (r / kHalf * kBf16Rows + r % kHalf) * row;
    kernel.split(thin.const_data_ptr<float>() + r * rows, rows, 1, first, kHalf * row, kFactorParts);
  }
  float* const result = out.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  const std::int64_t across = transposed ? rank : 1, along = transposed ? 1 : columns;
  for_tasks(ceil_div(columns, kBf16Columns), [&](std::int64_t task) {
    const std::int64_t column = task * kBf16Columns, n = std::min(kBf16Columns, columns - column);
    Bf16* const panel = room(Purpose::kRight, kOuterRows * kBf16Columns);
    float* const sums = scratch(Purpose::kSums, groups * kBf16Rows * kBf16Columns);
    kernel.begin();
    for (std::int64_t begin = 0; begin < rows; begin += kOuterRows) {
      const std::int64_t some = std::min(kOuterRows, rows - begin);
      kernel.pack_steps(bits_of(y) + begin * y.stride(0) + column, y.stride(0), n, some, panel);
      for (std::int64_t g = 0; g < groups; ++g) {
        const Bf16Range range{whole_steps(some), left + g * kBf16Rows * row + begin, row, panel};
        kernel.tile(&range, 1, sums + g * kBf16Rows * kBf16Columns, kBf16Columns, begin > 0);
      }
    }
    kernel.end();
    for (std::int64_t r = 0; r < rank; ++r) {
      const float* const high = sums + (r / kHalf * kBf16Rows + r % kHalf) * kBf16Columns;
      const float* const low = high + kHalf * kBf16Columns;
      for (std::int64_t j = 0; j < n; ++j) result[r * along + (column + j) * across] = factor * (high[j] + low[j]);
    }
  });
}

}  // namespace lowrank::kernels::gemm
