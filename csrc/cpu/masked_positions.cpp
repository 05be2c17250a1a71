#include "unmask/masked_positions.h"

#include <algorithm>

#include "cpu/multiversion.h"
#include "cpu/parallel.h"

namespace unmask::cpu {
namespace {

constexpr int64_t kBlock = 64;  // positions ruled out at once where nothing is masked

template <class Token>
UNMASK_INLINE bool any_masked(const Token* tokens, int64_t count, int64_t mask_id) {
  int64_t found = 0;
#pragma omp simd reduction(| : found)
  for (int64_t i = 0; i < count; ++i) found |= tokens[i] == mask_id;
  return found != 0;
}

template <class Token>
UNMASK_INLINE void fill_row(const Token* tokens, int64_t begin, int64_t end, int64_t mask_id,
                            int64_t capacity, int32_t* positions) {
  int64_t count = 0;
  for (int64_t block = begin; block < end && count < capacity; block += kBlock) {
    const int64_t stop = std::min(block + kBlock, end);
    if (!any_masked(tokens + block, stop - block, mask_id)) continue;
    for (int64_t p = block; p < stop && count < capacity; ++p)
      if (tokens[p] == mask_id) positions[count++] = static_cast<int32_t>(p);
  }
  std::fill(positions + count, positions + capacity, -1);
}

UNMASK_MULTIVERSION void fill_row_of_int64(const int64_t* tokens, int64_t begin, int64_t end,
                                           int64_t mask_id, int64_t capacity, int32_t* positions) {
  fill_row(tokens, begin, end, mask_id, capacity, positions);
}

UNMASK_MULTIVERSION void fill_row_of_int32(const int32_t* tokens, int64_t begin, int64_t end,
                                           int64_t mask_id, int64_t capacity, int32_t* positions) {
  fill_row(tokens, begin, end, mask_id, capacity, positions);
}

void find_masks(const MaskedPositionsArgs& args, int64_t row) {
  const auto bound = [&](const int64_t* bounds, int64_t otherwise) {
    return bounds ? std::clamp<int64_t>(bounds[row], 0, args.length) : otherwise;
  };
  const int64_t begin = bound(args.row_start, args.start);
  const int64_t end = bound(args.row_stop, args.stop);
  const int64_t offset = row * args.token_stride;
  int32_t* positions = args.positions + row * args.capacity;
  if (args.token_type == DType::kInt64)
    fill_row_of_int64(static_cast<const int64_t*>(args.tokens) + offset, begin, end, args.mask_id,
                      args.capacity, positions);
  else
    fill_row_of_int32(static_cast<const int32_t*>(args.tokens) + offset, begin, end, args.mask_id,
                      args.capacity, positions);
}

}  // namespace

Status masked_positions(const MaskedPositionsArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;

  auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) find_masks(args, row);
  };
  parallel_for(executor, args.batch, rows);
  return Status::success();
}

}  // namespace unmask::cpu
