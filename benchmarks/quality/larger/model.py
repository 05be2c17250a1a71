"""A masked diffusion model built as the large ones are: rotary positions and grouped queries."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pad

from quality.larger.task import HEADER, PLACES, LargerQuestions

__all__ = ["Config", "LargerModel", "Output"]

INIT_STD = 0.2


@dataclass(frozen=True)
class Config:
    """The shape of the model: four query heads share two heads of keys and values."""

    hidden: int = 64
    layers: int = 6
    heads: int = 4
    key_heads: int = 2
    widening: int = 2
    base: float = 10_000.0

    def to_dict(self) -> dict[str, float]:
        """Ready for JSON."""
        return asdict(self)


class Output(NamedTuple):
    """logits: [batch, length, vocab] float32; that of the mask is -inf."""

    logits: Tensor


class Attention(nn.Module):
    """Rotary positions on queries and keys; each pair of query heads reads the same keys."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.size = config.hidden // config.heads
        self.parts = [config.heads, config.key_heads, config.key_heads]
        self.project = nn.Linear(config.hidden, self.size * sum(self.parts))
        self.out = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """[batch, length, hidden] -> the same."""
        heads = self.project(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
        query, key, value = heads.split(self.parts, dim=1)
        mixed = functional.scaled_dot_product_attention(
            rotated(query, rotation), rotated(key, rotation), value, attn_mask=mask, enable_gqa=True
        )
        merged: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return merged


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        size, wide = config.hidden, config.widening * config.hidden
        self.attention_norm, self.mlp_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(config)
        self.mlp = nn.Sequential(nn.Linear(size, wide), nn.GELU(), nn.Linear(wide, size))

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, mask)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class LargerModel(nn.Module):
    """Every position sees every other; a word is told its role, and where it stands by rotation.

    The questions may be fewer than in the task it was made for: rotation only knows distances.
    """

    def __init__(self, task: LargerQuestions, config: Config) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.word = nn.Embedding(len(task.vocab), config.hidden)
        self.slot = nn.Embedding(HEADER + PLACES, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden)
        self.head = nn.Linear(config.hidden, task.mask_token_id)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=INIT_STD)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        """Predict all positions: int64 [batch, length of the task] -> :class:`Output`."""
        task = self.task
        if input_ids.shape[1] != task.length:
            raise ValueError(
                f"input_ids must have {task.length} positions, as a task of {task.questions} "
                f"questions, got {input_ids.shape[1]}"
            )
        device = input_ids.device
        size = self.config.hidden // self.config.heads
        rotation = angles(task.place.to(device), size, self.config.base)
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        x = self.word(input_ids) + self.slot(task.slot.to(device))
        for layer in self.layers:
            x = layer(x, rotation, mask)
        return Output(pad(self.head(self.norm(x)).float(), (0, 1), value=float("-inf")))

    def asked(self, questions: int) -> "LargerModel":
        """The same weights, for a task of another number of questions."""
        other = object.__new__(LargerModel)
        nn.Module.__init__(other)
        other.__dict__.update(self.__dict__)
        other.task = LargerQuestions(questions)
        return other


def angles(place: Tensor, size: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin of every rotary position: two times f32 [length, size]."""
    rate = base ** -(torch.arange(0, size, 2, device=place.device) / size)
    angle = (place.unsqueeze(-1) * rate).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """[batch, heads, length, size] turned by its position, first half against second half."""
    cos, sin = rotation
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], -1) * sin
