#include "unmask/kl_divergence.h"

#include "core/bind.h"
#include "core/check.h"

namespace unmask {

Status bind(KlDivergenceArgs& args, const TensorView& logits, const TensorView& previous,
            const TensorView& positions) {
  if (Status status = bind(args.rows, logits, positions); !status.ok()) return status;
  const LogitRows& rows = args.rows;
  const Check check = Check()
                          .dtype(previous, {rows.logits_type})
                          .shape(previous, "[B, L, V]", {rows.batch, rows.rows, rows.vocab})
                          .unit_stride(previous, "the vocabulary")
                          .device(previous, logits);
  if (!check.ok()) return check.status();

  args.previous = previous.data;
  args.previous_batch_stride = previous.stride[0];
  args.previous_row_stride = previous.stride[1];
  return validate(args);
}

Status validate(const KlDivergenceArgs& args) { return validate(args.rows); }

}  // namespace unmask
