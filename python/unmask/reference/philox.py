"""Philox4x32-10 on Python integers (Salmon, Moraes, Dror and Shaw, SC 2011)."""

MASK = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random words for a counter under a key, all of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
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


def noise_words(vocab: int, position: int, row: int, step: int, seed: int) -> list[int]:
    """One word per token: word v % 4 of the block at counter (v // 4, position, row, step)."""
    key = (seed & MASK, seed >> 32 & MASK)
    words: list[int] = []
    for block in range((vocab + 3) // 4):
        words += philox((block, position & MASK, row & MASK, step & MASK), key)
    return words[:vocab]
