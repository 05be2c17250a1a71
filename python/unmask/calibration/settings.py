"""How a calibration measures and what it demands."""

from dataclasses import dataclass

from unmask._checks import require_count, require_number


@dataclass(frozen=True)
class Settings:
    """The numbers behind :func:`unmask.calibrate`; the defaults serve most models.

    Fields:
        temperature: of the decoding that the settings are for.
        block_length: as for :func:`unmask.generate`, if decoding goes by blocks.
        logit_shift: 1 for models whose row i - 1 predicts position i (Dream).
        seed: of the reveal orders, of what is held out, and of draws.
        states: partially masked texts to look at per prompt.
        nodes: most masked positions whose influence on each other is measured in a state; nodes *
            values rows of the model, and once per prompt or block nodes * (nodes + 1) / 2.
        values: how many of a position's most probable tokens are tried in its place.
        batch: most rows in one forward pass; None: up to 64, as long as their logits have no more
            than 2^28 elements.
        precommit: DAPD reveals at once from this confidence on, so these positions need no edges.
        dependent: from this influence on (total variation), two positions must not be revealed
            together.
        independent: up to this influence they may; what lies between teaches nothing.
        least_auc: the worst separation that is good enough.
        keep: the share of dependent pairs that must be edges.
        margin: what the largest tau that keeps them is multiplied by.
        held_out: share of the prompts that settings are tried on.
        tolerance: how much likelihood, in nats per token, parallel decoding may lose.
        halvings: how often tau is halved before giving up.
    """

    temperature: float = 0.0
    block_length: int | None = None
    logit_shift: int = 0
    seed: int = 0
    states: int = 4
    nodes: int = 24
    values: int = 4
    batch: int | None = None
    precommit: float = 0.9
    dependent: float = 0.1
    independent: float = 0.03
    least_auc: float = 0.85
    keep: float = 0.99
    margin: float = 0.5
    held_out: float = 0.5
    tolerance: float = 0.05
    halvings: int = 6

    def __post_init__(self) -> None:
        require_number("temperature", self.temperature)
        if self.block_length is not None:
            require_count("block_length", self.block_length, least=1)
        require_count("seed", self.seed, least=0)
        if self.seed >= 2**31:
            raise ValueError(f"seed must be less than 2^31, got {self.seed}")
        for name in ("logit_shift", "halvings"):
            require_count(name, getattr(self, name), least=0)
        if self.batch is not None:
            require_count("batch", self.batch, least=1)
        for name in ("states", "values"):
            require_count(name, getattr(self, name), least=1)
        require_count("nodes", self.nodes, least=2)
        for name in ("precommit", "dependent", "keep", "margin"):
            require_number(name, getattr(self, name), most=1.0, positive=True)
        for name in ("independent", "least_auc", "tolerance"):
            require_number(name, getattr(self, name), most=1.0)
        require_number("held_out", self.held_out, most=0.9, positive=True)
        if self.independent >= self.dependent:
            raise ValueError(
                f"independent must be less than dependent = {self.dependent:g}, "
                f"got {self.independent:g}"
            )
