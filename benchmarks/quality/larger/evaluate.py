"""Where the dependencies are heard, layer by layer, and how every rule decodes."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from unmask import (
    DAPD,
    KLASS,
    AttentionTap,
    EntropyBound,
    Strategy,
    Threshold,
    TopConfidence,
    generate,
    masked_positions,
)

from quality.larger.model import LargerModel
from quality.larger.task import ANSWERS, KINDS, UNCERTAIN, LargerQuestions

EDGES = ("raw", "rowmax", "rowsum")
PRESETS = {"staged": DAPD.staged, "direct": DAPD.direct, "confident_first": DAPD.confident_first}
EVERYTHING = 2**20  # tokens per step
TEST_SEED = 2**31  # trainings draw from seeds below
REVEALED = 0.5  # of the answers, where a partly decoded text is listened to


def prompts(task: LargerQuestions, count: int, kinds: Sequence[str] = KINDS) -> Tensor:
    """Fresh texts with their answers: int64 [count, length]."""
    return task.sample(count, torch.Generator().manual_seed(TEST_SEED), kinds)


@torch.no_grad()
def listen(model: LargerModel, tokens: Tensor, revealed: float) -> dict[str, Any]:
    """How well the scores of every layer tell dependent answers from those of other questions.

    Args:
        model: in evaluation mode.
        tokens: [count, length], complete.
        revealed: the share of the answers that is shown; the pairs are among the others.

    Returns:
        For each edge rule one row per layer, and ``all`` and ``last 30 %`` of them: AUC of edges
        against pairs of different questions (``auc``), against all pairs without an edge, of the
        same question too (``auc_any``), and the ratio of the mean scores (``ratio``); ``kinds``
        has AUC and ratio for the edges of each kind apart.
    """
    task = model.task
    generator = torch.Generator().manual_seed(TEST_SEED)
    shown = torch.rand(tokens.shape, generator=generator) < revealed
    ids = tokens.masked_fill(task.generated & ~shown, task.mask_token_id)
    device = next(model.parameters()).device
    tap = AttentionTap(model, 1.0, apart=True)
    width = int((ids == task.mask_token_id).sum(1).max())
    positions = masked_positions(ids.to(device), task.mask_token_id, capacity=width)
    with tap(positions):
        model(ids.to(device))
    layers = tap.scores.cpu()
    nodes = positions.cpu().long()
    edge, inside, across = pairs_among(task, tokens, nodes)
    question = (nodes - task.first).clamp(min=0) // ANSWERS
    kind = task.kinds(tokens).gather(1, question).unsqueeze(-1)
    of_kind = {name: edge & (kind == KINDS.index(name)) for name in UNCERTAIN}
    last = max(1, len(layers) - math.floor(len(layers) * 0.7 + 1e-9))
    chosen = {f"layer {n}": layers[n] for n in range(len(layers))}
    chosen |= {"all": layers.mean(0), "last 30 %": layers[-last:].mean(0)}
    return {
        rule: {
            name: separation(relative(scores, rule), edge, inside, across, of_kind)
            for name, scores in chosen.items()
        }
        for rule in EDGES
    }


def pairs_among(
    task: LargerQuestions, tokens: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Edges, other pairs of one question, pairs of two questions: bool [count, N, N] each."""
    dependent, together = task.edges(tokens)
    at = (positions - task.first).clamp(min=0)
    rows = torch.arange(len(tokens))[:, None, None]
    pick = rows, at.unsqueeze(2), at.unsqueeze(1)
    there = positions >= 0
    real = there.unsqueeze(1) & there.unsqueeze(2) & ~torch.eye(at.shape[1], dtype=torch.bool)
    edge, same = dependent[pick] & real, together[pick] & real
    return edge, same & ~edge, real & ~same


def relative(scores: Tensor, rule: str) -> Tensor:
    """What DAPD compares with tau, [count, N, N]: symmetric, and relative to its row."""
    own = torch.eye(scores.shape[-1], dtype=torch.bool)
    d = ((scores + scores.mT) / 2).masked_fill(own, 0.0)
    if rule == "rowmax":
        return d / d.amax(-1, keepdim=True).clamp(min=1e-8)
    if rule == "rowsum":
        return d / d.sum(-1, keepdim=True).clamp(min=1e-8)
    return d


def separation(
    scores: Tensor, edge: Tensor, inside: Tensor, across: Tensor, of_kind: Mapping[str, Tensor]
) -> dict[str, Any]:
    """AUCs and ratios of the pairs' scores; a kind without an edge is left out."""
    own, no = scores[inside], scores[across]
    floor = no.mean().clamp(min=1e-12)
    return {
        "auc": auc(scores[edge], no),
        "auc_any": auc(scores[edge], torch.cat([own, no])),
        "ratio": float(scores[edge].mean() / floor),
        "ratio_other_inside": float(own.mean() / floor),
        "kinds": {
            kind: {"auc": auc(scores[at], no), "ratio": float(scores[at].mean() / floor)}
            for kind, at in of_kind.items()
            if at.any()
        },
    }


def auc(yes: Tensor, no: Tensor) -> float:
    """The chance that an edge scores higher than another pair; ties count half."""
    below = no.sort().values
    less = torch.searchsorted(below, yes)
    up_to = torch.searchsorted(below, yes, right=True)
    return float((less + up_to).double().mean() / 2 / len(below))


def best_layer(heard: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> int:
    """The single layer with the highest AUC by the rule DAPD uses."""
    rows = heard["rowmax"]
    layers = [name for name in rows if name.startswith("layer ")]
    return int(max(layers, key=lambda name: rows[name]["auc"]).split()[1])


def strategies(layers: int, best: int) -> dict[str, tuple[Strategy, str]]:
    """Every row of the table: its name, the strategy, and whose attention it reads."""
    rows: dict[str, tuple[Strategy, str]] = {
        "one per step": (TopConfidence(), ""),
        "Threshold(0.9)": (Threshold(), ""),
        "EntropyBound(0.1)": (EntropyBound(), ""),
        "KLASS(0.9, 0.01)": (KLASS(), ""),
    }
    readings: dict[str, float | list[int]] = {
        "last 30 %": 0.3,
        "layer 0": [0],
        "all": 1.0,
        f"layer {best} (best)": [best],
    }
    if best == 0:
        del readings["layer 0"]
    for name, reading in readings.items():
        for preset, make in PRESETS.items():
            rows[f"DAPD.{preset}, {name}"] = (make(layers=reading), name)
    rows["all at once"] = (TopConfidence(tokens_per_step=EVERYTHING), "")
    return rows


@torch.no_grad()
def decode(
    model: LargerModel, tokens: Tensor, strategy: Strategy, block: int | None
) -> dict[str, Any]:
    """Answer all questions and judge them: steps per text, and accuracy by kind."""
    task = model.task
    device = next(model.parameters()).device
    start = time.perf_counter()
    output = generate(
        model,
        tokens[:, : task.first].to(device),
        max_new_tokens=task.questions * ANSWERS,
        block_length=block,
        strategy=strategy,
        mask_token_id=task.mask_token_id,
    )
    seconds = time.perf_counter() - start
    right, kind = task.correct(output.sequences.cpu()), task.kinds(tokens)
    steps = output.steps.float()
    asked = [n for n in range(len(KINDS)) if (kind == n).any()]
    by_kind = {KINDS[n]: float(right[kind == n].float().mean()) for n in asked}
    return {
        "steps": float(steps.mean()),
        "steps_range": [float(steps.min()), float(steps.max())],
        "score": float(right.float().mean()),
        "error": standard_error(right),
        "kinds": by_kind,
        "seconds": seconds,
    }


def standard_error(right: Tensor) -> float:
    """Of the mean of [texts, questions], from one text to another; 0 for a single text."""
    texts = right.float().mean(1)
    return float(texts.std() / math.sqrt(len(texts))) if len(texts) > 1 else 0.0
