"""A bidirectional transformer that predicts the words behind the masks, as small as it gets.

Pre-norm blocks, learned positions, GELU, and attention through PyTorch's own
``scaled_dot_product_attention``, like the models in daily use. What reads the attention of a
large model reads the attention of this one.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["MaskedOutput", "MaskedTransformer", "ModelConfig"]

INIT_STD = 0.2  # of the embeddings; on the sums 0.02 loses a weak edge, 1.0 blurs the graph


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model, under the names the ``transformers`` library uses.

    Attributes:
        vocab_size: words, the mask among them.
        mask_token_id: the last one.
        length: most positions in a sequence.
        slots: positions in one block. A position is the sum of two learned vectors, one for its
            block and one for its slot within; with ``slots == length`` there is only the latter.
    """

    vocab_size: int
    mask_token_id: int
    length: int
    slots: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int = 4


class MaskedOutput(NamedTuple):
    """logits: [batch, length, vocab] float32; that of the mask is -inf, it is never predicted."""

    logits: Tensor


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, length, hidden] -> the same; mask: [batch, 1, 1, length] bool or None."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        # Found by its full name at every call: whoever replaces it to listen in is heard.
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        merged: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return merged


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attention_norm = nn.LayerNorm(size)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class MaskedTransformer(nn.Module):
    """The masked diffusion model: every position sees every other, at every step."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        size, blocks = config.hidden_size, config.length // config.slots
        self.word = nn.Embedding(config.vocab_size, size)
        self.slot = nn.Embedding(config.slots, size)
        self.block = nn.Embedding(blocks, size) if blocks > 1 else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, config.mask_token_id)  # the words, but not the mask
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=INIT_STD)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> MaskedOutput:
        """Predict every position of a sequence in which some are masked.

        Args:
            input_ids: [batch, length] int64.
            attention_mask: [batch, length], 1 where a position may be looked at, 0 where it is
                padding; None when there is none.
        """
        length = input_ids.shape[1]
        if length > self.config.length:
            raise ValueError(
                f"input_ids must have at most {self.config.length} positions, got {length}"
            )
        position = torch.arange(length, device=input_ids.device)
        x = self.word(input_ids) + self.slot(position % self.config.slots)
        if self.block is not None:
            x = x + self.block(position // self.config.slots)
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        logits = self.head(self.norm(x)).float()
        return MaskedOutput(pad(logits, (0, 1), value=float("-inf")))

    def save(self, path: str | Path, **notes: str) -> None:
        """Write the weights as float16, with the configuration and any notes as metadata."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        Path(path).write_bytes(save(tensors, {"config": json.dumps(asdict(self.config)), **notes}))

    @classmethod
    def from_file(cls, path: str | Path) -> "MaskedTransformer":
        """Read what ``save`` wrote, as float32 on the CPU.

        Raises:
            ValueError: the file does not say what model it holds.
        """
        with safe_open(path, framework="pt") as file:
            config = (file.metadata() or {}).get("config")
        if config is None:
            raise ValueError(f"{path} must carry a 'config' in its metadata, got none")
        model = cls(ModelConfig(**json.loads(config)))
        model.load_state_dict(load_file(path))
        return model
