"""What is measured, and the fewest bytes and operations each case needs. Plain data: no torch.

A floor counts every input once and every output once, at the speeds that ceilings.py measures:
nothing here is a datasheet's number.
"""

from typing import Any, NamedTuple

LLADA, DREAM = 126464, 152064  # vocabularies
BYTES = {"bfloat16": 2, "float32": 4}


class TopK(NamedTuple):
    """`rows` masked positions of one sequence, every row of the logits read once."""

    rows: int
    vocab: int = LLADA
    dtype: str = "bfloat16"
    k: int = 8
    temperature: float = 0.0
    sampler: str = "gumbel"

    def __str__(self) -> str:
        drawn = f" T={self.temperature} {self.sampler}" if self.temperature else ""
        return f"{self.rows} rows V={self.vocab} {self.dtype} k={self.k}{drawn}"

    @property
    def bytes(self) -> int:
        per_row = 8 + 4 + 4 + 4 + self.k * (8 + 4)  # token, confidence, entropy, log-sum-exp, ids
        return self.rows * (self.vocab * BYTES[self.dtype] + per_row)

    @property
    def flop(self) -> int:
        return 0  # two fused multiply-adds per element: never the limit


class Scores(NamedTuple):
    """Attention between `nodes` masked positions of one sequence, added over `layers`."""

    nodes: int
    length: int
    heads: int = 32
    kv_heads: int = 32
    layers: int = 10
    given: str = "lse"  # "lse"; "": softmax over all keys is ours to find; "probs"
    head_dim: int = 128

    def __str__(self) -> str:
        model = {(32, 32): "LLaDA", (28, 4): "Dream"}.get((self.heads, self.kv_heads), "tiny")
        given = {"lse": "LSE given", "": "no LSE", "probs": "from probabilities"}[self.given]
        return f"{self.layers} layers {model} M={self.nodes} L={self.length} {given}"

    @property
    def bytes(self) -> int:
        result = 4 * self.nodes**2  # written once; layers may add up on the chip
        if self.given == "probs":
            return result + 2 * self.layers * self.heads * self.nodes**2
        keys = self.nodes if self.given == "lse" else self.length
        rows = self.heads * self.nodes + self.kv_heads * keys
        lse = 4 * self.heads * self.nodes if self.given == "lse" else 0
        return result + self.layers * (2 * self.head_dim * rows + lse)

    @property
    def flop(self) -> int:
        if self.given == "probs":
            return 0
        keys = self.nodes if self.given == "lse" else self.length
        return 2 * self.layers * self.heads * self.nodes * keys * self.head_dim

    @property
    def exponentials(self) -> int:
        return self.flop // (2 * self.head_dim)


class Sets(NamedTuple):
    """`batch` undirected random graphs; each row of conflict bits once, and the flags."""

    batch: int
    nodes: int
    degree: int

    def __str__(self) -> str:
        return f"B={self.batch} N={self.nodes} mean degree {self.degree}"

    @property
    def bytes(self) -> int:
        return self.batch * self.nodes * (4 * -(-self.nodes // 32) + 4 + 1)

    @property
    def flop(self) -> int:
        return 0


class Step(NamedTuple):
    """One fused step: logits of the masked rows, scores, and tokens that are half masks."""

    rule: str
    batch: int
    nodes: int
    vocab: int = LLADA

    def __str__(self) -> str:
        return f"{self.rule} B={self.batch} M={self.nodes} V={self.vocab} bfloat16"

    @property
    def bytes(self) -> int:
        scores = 4 * self.nodes**2 if self.rule == "DAPD" else 0
        tokens = 8 * 2 * self.nodes
        return self.batch * (2 * self.nodes * self.vocab + scores + tokens)

    @property
    def flop(self) -> int:
        return 0


Case = TopK | Scores | Sets | Step

CASES: dict[str, list[Any]] = {
    "topk_confidence": [
        *(TopK(rows) for rows in (1, 8, 32, 132, 256, 1024, 4096, 32768)),
        *(TopK(rows, dtype="float32") for rows in (32, 256, 1024, 4096)),
        *(TopK(rows, DREAM) for rows in (256, 4096)),
        *(TopK(1024, k=k) for k in (1, 2, 16, 64)),
        *(TopK(rows, temperature=1.0) for rows in (256, 4096)),
        *(TopK(rows, temperature=1.0, sampler="two_level") for rows in (256, 4096)),
    ],
    "attention_scores": [
        *(Scores(nodes, 1024) for nodes in (32, 256)),
        *(Scores(nodes, 4096) for nodes in (256, 512, 1024, 2048, 4096)),
        *(Scores(nodes, 4096, 28, 4, 9) for nodes in (256, 1024)),
        *(Scores(nodes, 4096, given="") for nodes in (32, 256)),
        Scores(256, 1024, given="probs"),
    ],
    "independent_set": [
        Sets(batch, nodes, degree)
        for batch in (1, 132)
        for nodes in (64, 256, 1024, 4096)
        for degree in (8, 128)
        if degree < nodes
    ],
    "step": [
        *(Step("DAPD", 1, nodes) for nodes in (32, 256, 1024)),
        *(Step("DAPD", batch, 256) for batch in (8, 64)),
        *(Step("threshold", 1, nodes) for nodes in (32, 256)),
    ],
}

# One of each, for `--device cpu`: they prove that the command works, and measure nothing.
TINY: dict[str, list[Any]] = {
    "topk_confidence": [TopK(3, 1000, k=4)],
    "attention_scores": [
        Scores(5, 12, 4, 2, 2, head_dim=16),
        Scores(5, 12, 4, 2, 2, "", 16),
        Scores(5, 12, 4, 4, 2, "probs", 16),
    ],
    "independent_set": [Sets(2, 40, 4)],
    "step": [Step("DAPD", 2, 9, 500), Step("threshold", 2, 9, 500)],
}

# What the targets ask for: all of `--quick`, and first when there is time for everything.
TARGETED: dict[str, list[Any]] = {
    "topk_confidence": [TopK(rows) for rows in (32, 1024, 4096, 32768)],
    "attention_scores": [Scores(256, length) for length in (1024, 4096)],
    "independent_set": [Sets(132, 1024, degree) for degree in (8, 128)],
    "step": [Step("DAPD", 1, 256)],
}
MEMORY_LENGTHS = (512, 1024, 2048, 4096)


def cases_of(operator: str, *, quick: bool, tiny: bool) -> list[Any]:
    """The cases to run now, in this order."""
    if tiny:
        return TINY[operator]
    first = TARGETED[operator]
    return first if quick else first + [case for case in CASES[operator] if case not in first]
