"""Philox4x32-10 in Python's integers (Salmon et al., SC 2011)."""

_WORD = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], seed: int) -> tuple[int, int, int, int]:
    """Four 32-bit words at a counter; the 64 bits of the seed are the key."""
    a, b, c, d = (word & _WORD for word in counter)
    low, high = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(10):
        even, odd = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (odd >> 32) ^ b ^ low, odd & _WORD, (even >> 32) ^ d ^ high, even & _WORD
        low, high = (low + 0x9E3779B9) & _WORD, (high + 0xBB67AE85) & _WORD
    return a, b, c, d
