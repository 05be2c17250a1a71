"""What people run today, in torch: what decoders ship, and what torch.compile makes of it."""

from collections.abc import Callable

import torch
from torch import Tensor

K = 8


def float64_path(logits: Tensor) -> tuple[Tensor, Tensor]:
    """LLaDA's, dInfer's and Fast-dLLM's confidence: every row softened in float64."""
    token = logits.argmax(-1)
    probs = torch.softmax(logits.double(), -1)
    return token, probs.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def best_and_entropy(logits: Tensor, k: int = K) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What topk_confidence returns, as a user would write it before compiling it."""
    rows = logits.float()
    logsumexp = torch.logsumexp(rows, -1, keepdim=True)
    best = rows.topk(k)
    logs = rows - logsumexp
    entropy = -(logs.exp() * logs).sum(-1)
    return best.indices, (best.values - logsumexp).exp(), entropy, logsumexp.squeeze(-1)


def eager_attention(query: Tensor, key: Tensor, at: Tensor) -> Tensor:
    """[H, L, D], [Hkv, L, D], [N] -> [N, N]: all rows of every head, then a gather."""
    key = key.repeat_interleave(query.shape[0] // key.shape[0], 0)
    probs = torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1, dtype=torch.float32)
    return probs.mean(0)[at[:, None], at]


def scores_given_lse(query: Tensor, key: Tensor, lse: Tensor, at: Tensor) -> Tensor:
    """The same from masked rows and the log-sum-exp; still holds [H, N, N]."""
    key = key[:, at].repeat_interleave(query.shape[0] // key.shape[0], 0)
    product = (query[:, at] @ key.mT).float() * query.shape[-1] ** -0.5
    return (product - lse[:, at].unsqueeze(-1)).exp().mean(0)


def scores_from_probs(probs: Tensor, at: Tensor) -> Tensor:
    """[H, L, L], [N] -> [N, N]."""
    return probs[:, at][:, :, at].float().mean(0)


def ranked_edges(edges: Tensor, priority: Tensor) -> Tensor:
    """[B, N, N] bool -> float16: who excludes whom and comes earlier, in columns of neighbours."""
    index = torch.arange(priority.shape[1], device=priority.device)
    mine, other = priority.unsqueeze(2), priority.unsqueeze(1)
    earlier = (other > mine) | ((other == mine) & (index < index.unsqueeze(1)))
    return (edges & earlier).half()


def dense_round(before: Tensor, taken: Tensor, undecided: Tensor) -> tuple[Tensor, Tensor]:
    """One synchronous round of the greedy set, as two columns of a batched matrix product."""
    met = torch.bmm(before, torch.stack([taken, undecided], -1).half()) > 0
    out, waits = met[..., 0], met[..., 1]
    joins = undecided & ~out & ~waits
    return taken | joins, undecided & ~out & ~joins


def rounds_needed(before: Tensor) -> int:
    """How many rounds decide everybody; asks the device after each."""
    taken, undecided = _start(before)
    rounds = 0
    while bool(undecided.any()):
        taken, undecided = dense_round(before, taken, undecided)
        rounds += 1
    return rounds


def dense_rounds(before: Tensor, rounds: int) -> Tensor:
    """The set after so many rounds: told beforehand, the host need not look."""
    taken, undecided = _start(before)
    for _ in range(rounds):
        taken, undecided = dense_round(before, taken, undecided)
    return taken


def _start(before: Tensor) -> tuple[Tensor, Tensor]:
    taken = torch.zeros(before.shape[:2], dtype=torch.bool, device=before.device)
    return taken, torch.ones_like(taken)


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """By torch.compile, for exactly these shapes."""
    torch._dynamo.config.recompile_limit = 64  # a case is a shape, and compiled by itself
    return torch.compile(function, dynamic=False)
