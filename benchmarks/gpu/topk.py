"""topk_confidence: every row of the logits read once."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from unmask import TopKConfidence, topk_confidence

from gpu import bench as b
from gpu import peers_torch, timing
from gpu.bench import Bench, Contestant
from gpu.cases import TopK

MASK = -7
CHECKED_ROWS = 24  # against float64, which takes its time
MOST_BYTES_IN_FLOAT64 = 40 << 30
LONGEST_COMPILED = 4096  # rows


def run(bench: Bench, case: TopK) -> dict[str, Any]:
    dtype = getattr(torch, case.dtype)
    sets = [
        bench.randn(1, case.rows, case.vocab, dtype=dtype, seed=seed).mul_(3)
        for seed in range(timing.input_sets(case.bytes, bench.cold_bytes))
    ]
    positions = torch.arange(case.rows, dtype=torch.int32, device=bench.device).unsqueeze(0)
    options = {"k": case.k, "temperature": case.temperature, "sampler": case.sampler}
    options |= {"seed": 1, "step": 2}

    def ours(logits: Tensor, at: Tensor = positions) -> TopKConfidence:
        return topk_confidence(logits, at, **options)

    with b.poisoned_outputs(bench):
        found = ours(sets[0])
    rows = torch.linspace(0, case.rows - 1, min(CHECKED_ROWS, case.rows), device=bench.device)
    rows = rows.round().long().unique()
    alone = ours(sets[0], rows.int().unsqueeze(0))
    for name, one, many in zip(found._fields, alone, found, strict=True):
        b.require_equal(f"{name} without the rest of the batch", one[0], many[0, rows])
    error = check_floats(case, alone, sets[0][:, rows])
    check_with_cpu(alone, sets[0], rows, options)

    def agrees(name: str, answer: Any) -> None:
        """Its own tolerance, and its own choice among equal logits."""
        probs = found.probs[0] if name == "torch.compile" else found.confidence[0]
        b.require_close(name, answer[1].reshape(probs.shape), probs, relative=1e-3)

    row = b.race(
        bench,
        case,
        ours,
        peers(bench, case) if case.temperature == 0 else {},
        sets,
        bytes_per_set=case.bytes,
        agrees=agrees,
        error=error,
    )
    return row | case._asdict()


def check_floats(case: TopK, alone: TopKConfidence, logits: Tensor) -> float:
    """Against float64; the largest relative error."""
    rows = logits.double()
    exact = torch.softmax(rows, -1)
    ids = rows.sort(dim=-1, descending=True, stable=True).indices[..., : case.k]
    b.require_equal("ids", alone.ids, ids)
    if case.temperature == 0:
        b.require_equal("token", alone.token, ids[..., 0])
    at_token = exact.gather(-1, alone.token.unsqueeze(-1)).squeeze(-1)
    return max(
        b.require_close("probs", alone.probs, exact.gather(-1, ids)),
        b.require_close("confidence", alone.confidence, at_token),
        b.require_close("entropy", alone.entropy, torch.special.entr(exact).sum(-1)),
        b.require_close("logsumexp", alone.logsumexp, torch.logsumexp(rows, -1)),
    )


def check_with_cpu(alone: TopKConfidence, logits: Tensor, rows: Tensor, options: Any) -> None:
    """Draws included: the first and the last row, by the backend whose results are the rule."""
    for index in {0, len(rows) - 1}:
        row = int(rows[index])
        at = torch.tensor([[row]], dtype=torch.int32)
        there = topk_confidence(logits[:, row : row + 1].cpu(), at, row_offset=row, **options)
        b.require_equal("token of the CPU", alone.token[:, index].cpu(), there.token[:, 0])
        b.require_equal("ids of the CPU", alone.ids[:, index].cpu(), there.ids[:, 0])


def peers(bench: Bench, case: TopK) -> dict[str, Contestant]:
    """Each is handed exactly the masked rows; in a decoder some of them soften every row."""
    found = {}
    if bench.triton:
        tokens = torch.full((case.rows,), MASK, device=bench.device)
        found["Triton"] = Contestant(lambda x: bench.triton.post_process(x[0], tokens, MASK))
    if not bench.tiny and case.rows <= LONGEST_COMPILED:
        found["torch.compile"] = Contestant(compiled(case.k))
    if case.rows * case.vocab * 24 <= MOST_BYTES_IN_FLOAT64:
        found["float64"] = Contestant(peers_torch.float64_path)
    return found


@cache
def compiled(k: int) -> Any:
    return peers_torch.compiled(lambda logits: peers_torch.best_and_entropy(logits, k))
