"""How much memory a step's ways of finding confidences and scores take, over the sequence."""

from typing import Any

import torch
from unmask import attention_scores, topk_confidence

from gpu import peers_torch
from gpu.bench import Bench, forget, is_fatal
from gpu.cases import LLADA

HEADS, HEAD_DIM = 32, 128


def run(bench: Bench, length: int) -> dict[str, Any]:
    """Half of the positions are masked. Bytes above what the inputs hold; None: out of memory."""
    vocab = 500 if bench.tiny else LLADA
    logits = bench.randn(1, length, vocab, dtype=torch.bfloat16)
    positions = torch.arange(0, length, 2, dtype=torch.int32, device=bench.device).unsqueeze(0)
    at = positions[0].long()
    query, key = (
        bench.randn(1, HEADS, length, HEAD_DIM, dtype=torch.bfloat16, seed=seed) for seed in (1, 2)
    )
    ways = {
        "unmask confidence": lambda: topk_confidence(logits, positions, k=8),
        "float64 confidence": lambda: peers_torch.float64_path(logits),
        "unmask scores": lambda: attention_scores(query, key, positions),
        "eager attention": lambda: peers_torch.eager_attention(query[0], key[0], at),
    }
    return {"length": length, "peak_bytes": {who: _peak(bench, way) for who, way in ways.items()}}


def _peak(bench: Bench, way: Any) -> int | None:
    if bench.tiny:
        way()
        return None
    forget(bench)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    try:
        way()
    except torch.OutOfMemoryError:
        return None
    except RuntimeError as error:
        if is_fatal(error):
            raise
        return None
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated()) - before
