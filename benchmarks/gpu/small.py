"""Every operator once or twice on small inputs, compared with the CPU: what compute-sanitizer runs.

python benchmarks/gpu/small.py [--device cuda]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import unmask
from unmask import reference

MASK = 3
RELATIVE = 1e-5


def calls(rng: torch.Generator) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, operator and arguments; sizes beside the seams of words, warps and blocks."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    tokens = torch.randint(0, 6, (2, 70), generator=rng)
    positions = unmask.masked_positions(tokens, MASK, capacity=33)
    at = {"positions": positions}
    yield "masked_positions", unmask.masked_positions, {"tokens": tokens, "mask_id": MASK}
    for vocab, dtype in ((1003, torch.bfloat16), (4099, torch.float32)):
        logits = {"logits": (normal(2, 70, vocab) * 3).to(dtype)}
        yield "topk_confidence", unmask.topk_confidence, {**logits, **at, "k": 9}
        drawn = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 5}
        yield "topk_confidence, drawn", unmask.topk_confidence, {**logits, **at, "k": 2, **drawn}
    other = normal(2, 70, 4099)
    kl = {"logits": logits["logits"], "previous": other}
    yield "kl_divergence", unmask.kl_divergence, {**kl, **at}
    query, key = (normal(2, heads, 70, 64).bfloat16() for heads in (4, 2))
    product = query.float() @ key.float().repeat_interleave(2, 1).mT / 8
    pair = {"query": query, "key": key, **at}
    yield "attention_scores", unmask.attention_scores, pair
    lse = {"lse": torch.logsumexp(product, -1)}
    yield "attention_scores, LSE given", unmask.attention_scores, {**pair, **lse}
    wide = {"query": query.float(), "key": key.float(), **at, "is_causal": True}
    yield "attention_scores, float32", unmask.attention_scores, wide
    probs = {"probs": product.softmax(-1), **at}
    yield "attention_scores_from_probs", unmask.attention_scores_from_probs, probs
    scores = normal(2, 33, 33).mul(2).softmax(-1)
    for edge, normalize in (("rowmax", False), ("rowsum", True), ("raw", False)):
        rule = {"scores": scores, **at, "tau": 0.1, "edge": edge, "normalize": normalize}
        yield f"dependency_graph, {edge}", unmask.dependency_graph, rule
    for nodes in (33, 1025):
        edges = torch.rand(2, nodes, nodes, generator=rng) < 8 / nodes
        edges.diagonal(dim1=1, dim2=2).zero_()
        bits = {"conflict": reference.pack_bits(edges)}
        keys = {"priority": torch.rand(2, nodes, generator=rng)}
        yield f"independent_set, {nodes}", unmask.independent_set, {**bits, **keys}
    sparse = {"indptr": torch.tensor([0, 1, 3, 4]), "indices": torch.tensor([1, 0, 2, 1]).int()}
    ranks = {"priority": torch.tensor([3.0, 2.0, 1.0])}
    for symmetric in (False, True):
        promise = {"symmetric": symmetric}
        yield "independent_set_csr", unmask.independent_set_csr, {**sparse, **ranks, **promise}
    confidence, token = torch.rand(2, 33, generator=rng), torch.where(positions < 0, -1, 4)
    judged = {"confidence": confidence, "token": token}
    for rule, limit in (("top", 3), ("threshold", 0.9), ("factor", 1.0), ("random", 4)):
        yield f"select, {rule}", unmask.select, {**judged, "rule": rule, "limit": limit}
    entropy = {"entropy": torch.rand(2, 33, generator=rng), "rule": "entropy", "limit": 0.5}
    yield "select, entropy", unmask.select, {**judged, **entropy}
    written = {"tokens": tokens, **at, "token": token, "selected": confidence > 0.5}
    yield "commit_", unmask.commit_, written
    step = {"tokens": tokens, "logits": logits["logits"], "mask_id": MASK}
    yield "dapd_step_", unmask.dapd_step_, {**step, "scores": scores, "late": "union"}
    yield "threshold_step_", unmask.threshold_step_, {**step, "threshold": 0.5}
    yield "entropy_bound_step_", unmask.entropy_bound_step_, {**step, "gamma": 2.0}


def moved(arguments: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Copies, so that a step writes into its own tokens."""
    return {
        name: value.to(device, copy=True) if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }


def differs(ours: Any, expected: Any) -> bool:
    pairs = zip(*((x,) if isinstance(x, Tensor) else x for x in (ours, expected)), strict=True)
    return not all(
        torch.allclose(a.cpu().double(), b.double(), rtol=RELATIVE, atol=1e-6, equal_nan=True)
        if a.is_floating_point()
        else torch.equal(a.cpu(), b)
        for a, b in pairs
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", type=torch.device, default="cuda")
    device = parser.parse_args().device
    failed = []
    for name, operator, arguments in calls(torch.Generator().manual_seed(0)):
        try:
            ours, cpu = moved(arguments, device), moved(arguments, torch.device("cpu"))
            wrong = differs(operator(**ours), operator(**cpu))
            if "tokens" in arguments:
                wrong |= differs(ours["tokens"], cpu["tokens"])
            said = "differs from the CPU" if wrong else ""
        except (RuntimeError, ValueError, TypeError) as error:  # NotImplementedError included
            said = str(error).splitlines()[0]
        print(f"{name}: {said or 'equal'}")
        if said:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
