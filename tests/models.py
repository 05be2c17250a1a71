"""Small models for decoding tests: they are exact functions of what they are given."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

MASK, VOCAB = 10, 12


def target(position: int) -> int:
    """The token that Scripted says at a position."""
    return (7 * position + 3) % 10


class Scripted:
    """Says target(p) at position p, the surer the higher `sureness[p]`; if `chained`, it is only
    sure where the left neighbour is known.
    """

    config = SimpleNamespace(mask_token_id=MASK)

    def __init__(
        self, sureness: list[float] | float = 9.0, chained: bool = False, says: dict | None = None
    ) -> None:
        self.sureness, self.chained, self.says = sureness, chained, says or {}
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        self.seen.append((input_ids, attention_mask))
        length = input_ids.shape[1]
        at = range(length)
        wanted = torch.tensor([self.says.get(p, target(p)) for p in at], device=input_ids.device)
        sure = torch.as_tensor(self.sureness, device=input_ids.device).float().expand(length)
        sure = sure.expand(input_ids.shape)
        if self.chained:
            left_known = torch.nn.functional.pad(input_ids != MASK, (1, 0), value=True)[:, :-1]
            sure = torch.where(left_known, sure, 0.1 * sure)
        return sure.unsqueeze(-1) * torch.nn.functional.one_hot(wanted, VOCAB)


class Transformer(nn.Module):
    """Random weights, bidirectional, SDPA; honours the attention mask in keys and positions."""

    def __init__(self, layers: int = 3, heads: int = 2, dim: int = 32, sharpness: float = 3.0):
        super().__init__()
        torch.manual_seed(5)
        self.heads, self.sharpness = heads, sharpness
        self.config = SimpleNamespace(mask_token_id=MASK)
        self.token = nn.Embedding(VOCAB, heads * dim)
        self.place = nn.Embedding(128, heads * dim)
        self.qkv = nn.ModuleList(nn.Linear(heads * dim, 3 * heads * dim) for _ in range(layers))
        self.head = nn.Linear(heads * dim, VOCAB)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        hidden = self.token(input_ids) + self.place((real.cumsum(-1) - 1).clamp(min=0))
        keep = None if attention_mask is None else real.bool()[:, None, None, :]
        for layer in self.qkv:
            heads = layer(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(*heads, attn_mask=keep)
            hidden = nn.functional.layer_norm(
                hidden + mixed.transpose(1, 2).flatten(2), hidden.shape[-1:]
            )
        return SimpleNamespace(logits=self.sharpness * self.head(hidden))


class Placed(Transformer):
    """The test transformer, told where everything stands and who sees whom."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> SimpleNamespace:
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        keep = real if real.dim() == 4 else real.bool()[:, None, None, :]
        if position_ids is None:
            position_ids = (real.long().cumsum(-1) - 1).clamp(min=0)
        hidden = self.token(input_ids) + self.place(position_ids)
        for layer in self.qkv:
            heads = layer(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(*heads, attn_mask=keep)
            hidden = nn.functional.layer_norm(
                hidden + mixed.transpose(1, 2).flatten(2), hidden.shape[-1:]
            )
        return SimpleNamespace(logits=self.sharpness * self.head(hidden))
