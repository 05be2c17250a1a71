"""Does a suggestion hold on prompts that it was not found with?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.calibration.probe import Probe
from unmask.calibration.prompts import Prompt, together
from unmask.calibration.work import Tensors, Work, merged
from unmask.generate import generate
from unmask.strategies import Strategy

READ = 32  # tokens per text whose likelihood is read, spread evenly
FLOOR = math.log(1e-3)  # no single token counts for less


@dataclass(frozen=True)
class Trial:
    """One strategy on the prompts that were held out.

    Attributes:
        strategy: its name in tables.
        steps: forward passes per text, averaged.
        likelihood: nats per token, each given all others, by the model itself.
        loss: how much less that is than when one token is revealed per step, averaged over texts.
        error: the standard error of the loss.
    """

    strategy: str
    steps: float
    likelihood: float
    loss: float
    error: float

    def to_dict(self) -> dict[str, str | float]:
        """Ready for TOML and JSON."""
        return {key: round(v, 6) if isinstance(v, float) else v for key, v in asdict(self).items()}


@dataclass(frozen=True)
class Decoder:
    """The model, the prompts, and what is done already."""

    probe: Probe
    model: Callable[..., object]
    prompts: Sequence[Prompt]
    work: Work

    def decode(self, name: str, strategy: Strategy, group: Sequence[int]) -> Tensors:
        """Texts of prompts of one shape: sequences [n, L] and steps [n]."""
        return self.work.once(
            f"{name}/{group[0]}+{len(group)}", partial(self._decode, strategy, group)
        )

    def try_out(
        self, name: str, strategy: Strategy, numbers: Sequence[int], advance: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """Steps and mean likelihood of each text, by the order of the groups: f32 [n] each."""
        parts = []
        for group in together(self.prompts, numbers, self.probe.batch):
            texts = self.decode(name, strategy, group)["sequences"]
            read = self.work.once(
                f"{name}/{group[0]}+{len(group)}/read", partial(self._read, group, texts)
            )
            steps = self.decode(name, strategy, group)["steps"].float()
            parts.append({"steps": steps, **read})
            advance()
        found = merged(parts)
        return found["steps"], found["likelihood"]

    def _decode(self, strategy: Strategy, group: Sequence[int]) -> Tensors:
        settings, device = self.probe.settings, self.probe.device
        ids = torch.tensor([self.prompts[i].input_ids for i in group], device=device)
        # Draws belong to a prompt, whatever group it is in.
        seeds = torch.tensor([settings.seed * 1_000_003 + i for i in group], device=device)
        output = generate(
            self.model,
            ids.view(len(group), -1).long(),
            max_new_tokens=self.prompts[group[0]].max_new_tokens,
            block_length=settings.block_length,
            strategy=strategy,
            mask_token_id=self.probe.mask_id,
            temperature=settings.temperature,
            seed=seeds,
            logit_shift=settings.logit_shift,
        )
        return {"sequences": output.sequences, "steps": output.steps}

    def _read(self, group: Sequence[int], texts: Tensor) -> Tensors:
        likelihood = []
        for number, text in zip(group, texts, strict=True):
            canvas = torch.tensor(self.prompts[number].canvas(self.probe.mask_id))
            written = (canvas == self.probe.mask_id).nonzero().flatten()
            pick = torch.linspace(0, len(written) - 1, min(READ, len(written))).round().long()
            device = self.probe.device
            found = self.probe.likelihood(text.to(device), written[pick].to(device))
            likelihood.append(found.clamp(min=FLOOR).mean())
        return {"likelihood": torch.stack(likelihood)}


def compare(name: str, found: tuple[Tensor, Tensor], one_per_step: tuple[Tensor, Tensor]) -> Trial:
    """Put one strategy's texts beside those of the same prompts, one token per step."""
    steps, likelihood = found
    loss = one_per_step[1] - likelihood
    error = loss.std().item() / math.sqrt(len(loss)) if len(loss) > 1 else 0.0
    return Trial(name, steps.mean().item(), likelihood.mean().item(), loss.mean().item(), error)
