"""Philox4x32-10 on Python integers (Salmon, Moraes, Dror and Shaw, SC 2011)."""

from functools import lru_cache

MASK = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], seed: int) -> tuple[int, int, int, int]:
    """Four random words of 32 bits at a counter; the 64 bits of the seed are the key."""
    c0, c1, c2, c3 = (word & MASK for word in counter)
    k0, k1 = seed & MASK, seed >> 32 & MASK
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second & MASK,
            (first >> 32) ^ c3 ^ k1,
            first & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


@lru_cache(maxsize=64)
def noise_words(vocab: int, position: int, row: int, step: int, seed: int) -> list[int]:
    """One word per token: word v % 4 of the block at counter (v // 4, position, row, step)."""
    words: list[int] = []
    for block in range((vocab + 3) // 4):
        words += philox((block, position, row, step), seed)
    return words[:vocab]
