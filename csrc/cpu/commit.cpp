#include "unmask/commit.h"

#include <limits>
#include <string>

#include "cpu/check_positions.h"
#include "cpu/parallel.h"

namespace unmask::cpu {
namespace {

template <class Token>
int32_t write_row(const CommitArgs& args, int64_t row) {
  Token* tokens = static_cast<Token*>(args.tokens) + row * args.token_stride;
  int32_t written = 0;
  for (int64_t cell = row * args.nodes; cell < (row + 1) * args.nodes; ++cell) {
    if (!args.selected[cell] || args.positions[cell] < 0 || args.token[cell] < 0) continue;
    tokens[args.positions[cell]] = static_cast<Token>(args.token[cell]);
    ++written;
  }
  return written;
}

// An id that the sequence cannot hold would be written as another.
Status check_tokens_fit(const CommitArgs& args) {
  if (args.token_type != DType::kInt32) return Status::success();
  for (int64_t cell = 0; cell < args.batch * args.nodes; ++cell)
    if (args.selected[cell] && args.token[cell] > std::numeric_limits<int32_t>::max())
      return Status::invalid_argument("token must fit into int32 tokens, got " +
                                      std::to_string(args.token[cell]));
  return Status::success();
}

}  // namespace

Status commit(const CommitArgs& args, const Executor& executor) {
  if (Status status = validate(args); !status.ok()) return status;
  if (Status status = check_positions(args.positions, args.batch, args.nodes, args.length);
      !status.ok())
    return status;
  if (Status status = check_tokens_fit(args); !status.ok()) return status;

  auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      args.committed[row] = args.token_type == DType::kInt64 ? write_row<int64_t>(args, row)
                                                             : write_row<int32_t>(args, row);
  };
  parallel_for(executor, args.batch, rows);
  return Status::success();
}

}  // namespace unmask::cpu
