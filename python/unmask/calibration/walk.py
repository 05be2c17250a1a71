"""One text of the model, masked again, more and less: the states that are measured."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.calibration.influence import measure, measure_last
from unmask.calibration.probe import Probe
from unmask.calibration.prompts import Prompt
from unmask.calibration.work import Tensors

RUN = 4  # neighbours that are chosen together, so that near pairs appear as well as far ones


@dataclass(frozen=True)
class Walk:
    """The states of one prompt; the same whatever was measured before."""

    probe: Probe
    text: Tensor  # int64 [L], nothing masked
    masked: Tensor  # bool [L], what the model wrote
    new: int  # where the first block's new tokens begin
    states: list[Tensor]  # bool [L] each, what is masked
    order: Tensor  # int64, the positions, those first that are measured first

    @classmethod
    def of(cls, probe: Probe, prompt: Prompt, text: Tensor, number: int) -> "Walk":
        """The walk of prompt ``number``, whose masks became this text."""
        settings = probe.settings
        draw = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        masked = torch.tensor(prompt.canvas(probe.mask_id)) == probe.mask_id
        new = len(prompt.input_ids)
        states = states_of(masked, new, settings.states, settings.block_length, draw)
        return cls(probe, text.to(probe.device), masked, new, states, preferred(masked, draw))

    def block(self, k: int) -> int:
        """The block that state k works on."""
        first = self.states[k].int().argmax()
        length = self.probe.settings.block_length
        return 0 if length is None else int(_block(first, self.new, length))

    def state(self, k: int) -> Tensors:
        """Measure state k."""
        now = self.states[k]
        nodes = nodes_of(now, self.new, self.probe.settings.block_length)
        tokens = self.text.masked_fill(now.to(self.text.device), self.probe.mask_id)
        progress = 1 - int(now.sum()) / int(self.masked.sum())
        return measure(self.probe, tokens, nodes.to(self.text.device), progress, self.order)

    def last(self, block: int) -> Tensors:
        """Measure, where all but two are known, the positions that come first in a block."""
        length, order = self.probe.settings.block_length, self.order
        if length is not None:
            order = order[_block(order, self.new, length) == block]
        positions = order[: self.probe.settings.nodes].sort().values
        return measure_last(self.probe, self.text, positions.to(self.text.device))


def states_of(
    masked: Tensor, new: int, count: int, block_length: int | None, generator: torch.Generator
) -> list[Tensor]:
    """Which masks are still there in each state, the first one with all: bool [L] each.

    Positions are revealed in random order, block after block, so each state contains the next.

    Args:
        masked: bool [L], all that has to be revealed.
        new: where the first block's new tokens begin; masks before belong to it.
        count: how many states.
        block_length: None: one block.
        generator: draws the order and, but for the first state, how far each one is.
    """
    where = masked.nonzero().flatten()
    order = where[torch.randperm(len(where), generator=generator)]
    if block_length is not None:
        order = order[_block(order, new, block_length).argsort(stable=True)]
    late = torch.rand(count, generator=generator)
    states = []
    for k in range(count):
        shown = int((k + float(late[k])) / count * len(order)) if k else 0
        states.append(masked.index_fill(0, order[:shown], False))
    return states


def preferred(masked: Tensor, generator: torch.Generator) -> Tensor:
    """The order in which positions are chosen to be measured, int64: short runs of neighbours."""
    runs = masked.nonzero().flatten().split(RUN)
    return torch.cat([runs[i] for i in torch.randperm(len(runs), generator=generator).tolist()])


def nodes_of(masked: Tensor, new: int, block_length: int | None) -> Tensor:
    """The masked positions that a step looks at: those of the first block that has any."""
    where = masked.nonzero().flatten()
    if block_length is None or len(where) == 0:
        return where
    block = _block(where, new, block_length)
    return where[block == block[0]]


def _block(positions: Tensor, new: int, block_length: int) -> Tensor:
    return (positions - new).clamp(min=0) // block_length
