"""What one would write in Triton instead: peers, and kernels that measure the card itself.

- `post_process`: the confidence step of a served diffusion model (the design of SGLang's pull
  request 18810, written anew from its description): one program per position, gone at once unless
  the position is masked; online softmax and argmax; tokens that are sure enough are committed.
- `pair_scores`: attention between masked positions from Q, K and the log-sum-exp, a tile of pairs
  per program with the heads looped inside.
- `read_all`, `read_again`, `nothing`: read-only bandwidth, the same out of L2, and a kernel that
  does nothing.

Under TRITON_INTERPRET=1 the kernels run on the CPU, untuned, to check what they compute.
"""

# ruff: noqa: N803
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def tuned(options: list[dict[str, int]], key: list[str]) -> Any:
    """Let Triton choose among (constants and num_warps) whenever an argument in `key` changes."""
    if INTERPRETED:
        constants = {name: value for name, value in options[0].items() if name != "num_warps"}
        return lambda kernel: _Fixed(kernel, constants)
    configs = []
    for option in options:
        constants = {name: value for name, value in option.items() if name != "num_warps"}
        configs.append(triton.Config(constants, num_warps=option["num_warps"]))
    return triton.autotune(configs, key=key)


class _Fixed:
    def __init__(self, kernel: Any, constants: dict[str, int]) -> None:
        self.kernel, self.constants = kernel, constants

    def __getitem__(self, grid: Any) -> Any:
        shape = grid(self.constants) if callable(grid) else grid
        return lambda *args: self.kernel[shape](*args, **self.constants)


@tuned(
    [
        {"BLOCK": block, "num_warps": warps}
        for block, warps in [(2048, 4), (4096, 8), (8192, 8), (8192, 16), (16384, 16), (32768, 32)]
    ],
    key=["positions", "vocab"],
)
@triton.jit
def post_process_kernel(
    logits, tokens, next_tokens, found, prob, mask_id, threshold, positions, vocab,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    token = tl.load(tokens + row)
    tl.store(next_tokens + row, token)
    if token == mask_id:
        at = logits + row.to(tl.int64) * vocab
        top = tl.full((), float("-inf"), tl.float32)
        total = tl.full((), 0.0, tl.float32)
        where = tl.full((), 0, tl.int32)
        for start in range(0, vocab, BLOCK):
            column = start + tl.arange(0, BLOCK)
            x = tl.load(at + column, mask=column < vocab, other=float("-inf")).to(tl.float32)
            block_top = tl.max(x, 0)
            where = tl.where(block_top > top, start + tl.argmax(x, 0), where)
            new_top = tl.maximum(top, block_top)
            total = total * tl.exp(top - new_top) + tl.sum(tl.exp(x - new_top), 0)
            top = new_top
        tl.store(found + row, where.to(tl.int64))
        tl.store(prob + row, 1 / total)
        if 1 / total >= threshold:
            tl.store(next_tokens + row, where.to(tl.int64))


def post_process(
    logits: Tensor, tokens: Tensor, mask_id: int, threshold: float = 2.0
) -> tuple[Tensor, Tensor, Tensor]:
    """[P, V] and [P] -> token and probability of the masked positions, and the tokens after it."""
    next_tokens, found = torch.empty_like(tokens), torch.empty_like(tokens)
    prob = torch.empty(tokens.shape, dtype=torch.float32, device=tokens.device)
    positions, vocab = logits.shape
    post_process_kernel[(positions,)](
        logits, tokens, next_tokens, found, prob, mask_id, threshold, positions, vocab
    )
    return found, prob, next_tokens


@tuned(
    [
        {"TILE_M": m, "TILE_N": n, "num_warps": warps}
        for m, n, warps in [(64, 64, 4), (64, 128, 4), (128, 64, 8), (128, 128, 8)]
    ],
    key=["nodes", "heads", "rep"],
)
@triton.jit
def pair_scores_kernel(
    query, key, lse, positions, out, nodes, length, heads, rep, scale, weight,
    D: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
):  # fmt: skip
    log2e = 1.4426950408889634
    i = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    j = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    at_i = tl.load(positions + i, mask=i < nodes, other=0).to(tl.int64)
    at_j = tl.load(positions + j, mask=j < nodes, other=0).to(tl.int64)
    element = tl.arange(0, D)
    total = tl.zeros((TILE_M, TILE_N), tl.float32)
    for head in range(heads):
        q = tl.load(query + (head * length + at_i)[:, None] * D + element[None, :])
        k = tl.load(key + ((head // rep) * length + at_j)[None, :] * D + element[:, None])
        log_sum = tl.load(lse + head * length + at_i)
        product = tl.dot(q, k)
        total += tl.exp2(product * (scale * log2e) - log_sum[:, None] * log2e)
    cell = i.to(tl.int64)[:, None] * nodes + j[None, :]
    exists = (i < nodes)[:, None] & (j < nodes)[None, :]
    before = tl.load(out + cell, mask=exists, other=0.0)
    tl.store(out + cell, before + total * (weight / heads), mask=exists)


def pair_scores(
    query: Tensor, key: Tensor, lse: Tensor, positions: Tensor, out: Tensor, weight: float
) -> Tensor:
    """[H, L, D], [Hkv, L, D], [H, L], [N] -> added into out [N, N]."""
    heads, length, size = query.shape
    nodes = len(positions)
    rep, scale = heads // key.shape[0], size**-0.5

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(nodes, meta["TILE_M"]), triton.cdiv(nodes, meta["TILE_N"])

    pair_scores_kernel[grid](
        query, key, lse, positions, out, nodes, length, heads, rep, scale, weight, size
    )
    return out


@triton.jit
def read_kernel(data, sums, chunks, rounds, stride, BLOCK: tl.constexpr):
    """Program p reads chunk p, p + stride, p + 2 * stride, ... of a ring of chunks."""
    program = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    for turn in range(rounds):
        chunk = (program + turn * stride) % chunks
        total += tl.load(data + chunk.to(tl.int64) * BLOCK + tl.arange(0, BLOCK))
    tl.store(sums + program, tl.sum(total, 0))


BLOCK = 8192


def read_all(data: Tensor, programs: int) -> Tensor:
    """Read float32 data once, whole blocks of it; one sum per program."""
    chunks = data.numel() // BLOCK
    sums = torch.empty(programs, device=data.device)
    read_kernel[(programs,)](data, sums, chunks, -(-chunks // programs), programs, BLOCK)
    return sums


def read_again(data: Tensor, programs: int, rounds: int) -> Tensor:
    """Every program reads `rounds` different chunks of little data: it comes out of L2."""
    chunks = data.numel() // BLOCK
    sums = torch.empty(programs, device=data.device)
    read_kernel[(programs,)](data, sums, chunks, rounds, 7, BLOCK)
    return sums


@triton.jit
def nothing_kernel(data):
    pass


def nothing(data: Tensor) -> None:
    """One launch."""
    nothing_kernel[(1,)](data)
