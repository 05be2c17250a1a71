"""The two-level sampler on Python integers; its floats are float32, each rounded once.

A part has 64 tokens of a tile of 1024: those with the same ``token // 8 % 16``. An attempt takes a
point below the sum of all slots and is accepted when its offset lies below the true mass of the
part it hits; the slots of rejected ones become true after every eighth attempt.
"""

from bisect import bisect_right
from itertools import accumulate, count

import torch
from torch import Tensor

from unmask.reference.philox import philox

TILE, PARTS_PER_TILE = 1024, 16
FIRST_ATTEMPT = 2**31  # first counter word of attempt 0
ROUND = 8
POLYNOMIAL = [
    1.0,
    0.6931471824645996,
    0.2402234822511673,
    0.055503569543361664,
    0.009666373953223228,
    0.0013390866806730628,
]


def exp2(t: Tensor) -> Tensor:
    """[..] float32 in [-126, 0] -> 2**t as csrc/core/exact_math.h computes it."""
    rounder = torch.tensor(2.0**23 * 1.5 + 127)  # adding it rounds to an integer
    whole = (t + rounder) - rounder
    fraction = t - whole
    power = torch.full_like(t, POLYNOMIAL[-1])
    for coefficient in reversed(POLYNOMIAL[:-1]):
        power = power * fraction + torch.tensor(coefficient)
    return power * (whole.int() + 127 << 23).view(torch.float32)


def token_masses(logits: Tensor, highest: Tensor, factor: Tensor) -> Tensor:
    """[..] float32 -> int64, floor(2**42 * exp(factor * (logits - highest)))."""
    t = (logits - highest) * (factor * torch.tensor(1.44269502))
    power = torch.where(t > -126, exp2(t.clamp(-126, 0)), 0.0)
    return (power.double() * 2.0**42).long()


def rounded_up(logits: Tensor) -> Tensor:
    """[..] float32 -> the largest value that shares the upper 16 bits of its place in the order."""
    bits = (logits + 0.0).view(torch.int32)  # -0 becomes +0
    return torch.where(bits >= 0, bits | 0xFFFF, bits & ~0xFFFF).view(torch.float32)


def first_slots(largest: Tensor, highest: Tensor, factor: Tensor) -> list[int]:
    """[parts] float32, the largest logit of each -> what the part weighs at most."""
    bounds = torch.minimum(rounded_up(largest), highest)
    most = token_masses(bounds, highest, factor).tolist()
    usable = (largest > -torch.inf).tolist()
    return [64 * (m + m // 2**20 + 1) if u else 0 for m, u in zip(most, usable, strict=True)]


def draw_in_two_levels(
    row: Tensor,
    logit_scale: float,
    temperature: float,
    position: int,
    batch_row: int,
    step: int,
    seed: int,
) -> int:
    """[V] logits with a finite maximum -> a sample of softmax(logit_scale * row / temperature)."""
    vocab = len(row)
    tiles = -(-vocab // TILE)
    padded = torch.full((tiles * TILE,), -torch.inf)
    padded[:vocab] = row.float().nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    factor = (torch.tensor(logit_scale) / torch.tensor(temperature)).clamp(max=2.0**100)
    highest = padded.max()

    def by_part(values: Tensor) -> Tensor:  # [parts, 64], ids ascending
        return values.view(tiles, 8, PARTS_PER_TILE, 8).transpose(1, 2).reshape(-1, 64)

    tokens = by_part(torch.arange(len(padded)))
    masses = by_part(token_masses(padded, highest, factor)).tolist()
    slots = first_slots(by_part(padded).amax(1), highest, factor)
    rejected: list[int] = []
    for attempt in count():
        if attempt % ROUND == 0:
            for part in rejected:
                slots[part] = sum(masses[part])
            ends = list(accumulate(slots))
        high, low, *_ = philox((FIRST_ATTEMPT + attempt, position, batch_row, step), seed)
        point = (high << 32 | low) * ends[-1] >> 64
        part = bisect_right(ends, point)
        offset = point - (ends[part] - slots[part])
        place = bisect_right(list(accumulate(masses[part])), offset)
        if place < 64:
            return int(tokens[part, place])
        rejected.append(part)
    raise AssertionError("unreachable: there is no last attempt")
