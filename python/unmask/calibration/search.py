"""The way from a model and a few prompts to settings of DAPD."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import unmask
from unmask._checks import require_number
from unmask.calibration.errors import NotSeparableError
from unmask.calibration.influence import Measured
from unmask.calibration.probe import Probe
from unmask.calibration.prompts import as_prompts, hold_out, together
from unmask.calibration.result import Calibration
from unmask.calibration.separation import Pairs, Separation, best_of, every_rule, label, quantile
from unmask.calibration.settings import Settings
from unmask.calibration.verification import Decoder, Trial, compare
from unmask.calibration.walk import Walk
from unmask.calibration.work import Work, fingerprint
from unmask.decoding.arguments import mask_token_of
from unmask.strategies import DAPD, EntropyBound, Strategy, Threshold, TopConfidence

LEAST_PAIRS = 20  # of either kind
ONE, OURS = "one per step", "DAPD, suggested"
PEERS: dict[str, Strategy] = {"Threshold(0.9)": Threshold(), "EntropyBound(0.1)": EntropyBound()}
INSTEAD = "decode with Threshold(0.9) or EntropyBound(0.1), which look at no attention"

Advance = Callable[[], None]
Stage = Callable[[str, int], Advance]


@torch.no_grad()
def calibrate(
    model: Callable[..., Any],
    prompts: Any,
    *,
    settings: Settings | None = None,
    mask_token_id: int | None = None,
    max_new_tokens: int | None = None,
    name: str | None = None,
    work: str | Path | None = None,
    resume: bool = False,
    budget_minutes: float | None = None,
    progress: bool = False,
) -> Calibration:
    """Find tau, layers and edge rule of :class:`unmask.DAPD` for a model; no labels needed.

    1. Each prompt is decoded one token per step. Its text is then masked again, at random and
       more and more, and in each of these states the model is asked what depends on what: one
       position is revealed, and others move or do not; last of all where all but two are known
       (:mod:`unmask.calibration.influence`).
    2. For every choice of layers and every edge rule, the scores that DAPD compares with tau are
       compared between dependent and independent pairs. The highest AUC wins; among those within
       0.005 of it, the widest gap.
    3. tau is the largest that keeps 99 % of the dependent pairs as edges, times a half.
    4. Prompts that were held out are decoded with that, and tau is halved until the model finds the
       texts no less likely, by more than a tolerance, than those of one token per step.

    The numbers in 1 to 4 are the ``settings``.

    Args:
        model: as for :func:`unmask.generate`; its attention is tapped.
        prompts: int64 [n, P], or a list whose items are ids or dicts with ``input_ids`` and
            ``max_new_tokens``. About thirty teach enough.
        settings: see :class:`unmask.calibration.Settings`.
        mask_token_id: default: ``model.config.mask_token_id``.
        max_new_tokens: for prompts that do not say; default: 0 where there are masks, else 128.
        name: of the model, for the result; default: that of its class.
        work: a file for partial measurements, written after each; yours to delete afterwards.
        resume: go on with what the file holds, if it was measured with the same arguments.
        budget_minutes: stop measuring after so long and go on with what there is; verification
            comes on top.
        progress: show a bar.

    Raises:
        unmask.calibration.NotSeparableError: scores do not tell dependent from independent pairs,
            or no tau holds on the prompts held out. It is a ValueError.
        ValueError: an argument does not fit.
        RuntimeError: the model's attention cannot be heard.
    """
    settings = settings or Settings()
    if budget_minutes is not None:
        require_number("budget_minutes", budget_minutes)
    mask_id = mask_token_of(model, mask_token_id)
    given = as_prompts(prompts, mask_id, max_new_tokens)
    called = name or str(getattr(model, "__name__", type(model).__name__))
    key = {
        "unmask": unmask.__version__,
        "model": [called, fingerprint(model)],
        "prompts": [asdict(prompt) for prompt in given],
        "mask_token_id": mask_id,
        "settings": {**asdict(settings), "batch": None},  # memory that ran out may be resumed
    }
    done = Work(None if work is None else Path(work), key, resume)
    longest = max((prompt.canvas(mask_id) for prompt in given), key=len)
    decoder = Decoder(Probe(model, mask_id, settings, longest), model, given, done)
    to_measure, held_out = hold_out(len(given), settings.held_out, settings.seed)
    until = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes

    if not progress and done.anew:
        warnings.warn(done.note, stacklevel=2)
    with _stages(progress, done.note) as stage:
        states = list(_states(decoder, to_measure, until, stage))
        planned = settings.states * len(to_measure)
        pairs = label(states, settings)
        _require_pairs(pairs, settings, f"{len(states)} of {planned} states")
        single, chosen = every_rule(pairs)
        best = best_of(chosen, settings.keep)
        _require_separation(best, pairs, settings)
        strategy, trials = _verify(decoder, best, held_out, stage)
    return Calibration(
        strategy=strategy,
        model=called,
        settings=settings,
        prompts=(len(to_measure), len(held_out)),
        states=(len(states), planned),
        pairs=pairs.counts,
        best=best,
        single=tuple(single),
        chosen=tuple(chosen),
        trials=tuple(trials),
    )


def _states(
    decoder: Decoder, numbers: Sequence[int], until: float | None, stage: Stage
) -> Iterator[Measured]:
    """Measure states of these prompts, until the time is up."""
    settings = decoder.probe.settings
    advance = stage("measuring influence", settings.states * len(numbers))
    for group in together(decoder.prompts, numbers, decoder.probe.batch):
        texts = decoder.decode(ONE, TopConfidence(), group)["sequences"]
        for number, text in zip(group, texts, strict=True):
            walk = Walk.of(decoder.probe, decoder.prompts[number], text, number)
            for k in range(settings.states):
                if until is not None and time.monotonic() >= until:
                    return
                parts = decoder.work.once(f"state/{number}/{k}", partial(walk.state, k))
                block = walk.block(k)
                last = decoder.work.once(f"last/{number}/{block}", partial(walk.last, block))
                yield Measured.of(number, parts, last)
                advance()


def _require_pairs(pairs: Pairs, settings: Settings, states: str) -> None:
    dependent, independent = pairs.counts
    seen = (
        f"of the pairs in {states} {dependent} are dependent (total variation >= "
        f"{settings.dependent:g}) and {independent} independent (<= {settings.independent:g}), "
        f"at least {LEAST_PAIRS} of each are needed"
    )
    if dependent < LEAST_PAIRS:
        raise NotSeparableError(
            f"scores cannot be calibrated: {seen}. Where no uncertain token moves another there is "
            f"no graph to find: {INSTEAD}. Longer or more prompts may show more"
        )
    if independent < LEAST_PAIRS:
        raise NotSeparableError(
            f"scores cannot be calibrated: {seen}. Where everything depends on everything nothing "
            f"may be revealed together for being apart: {INSTEAD}. Longer or more prompts may "
            "show more"
        )


def _require_separation(best: Separation, pairs: Pairs, settings: Settings) -> None:
    if best.auc < settings.least_auc:
        dependent, independent = pairs.counts
        raise NotSeparableError(
            f"attention scores do not separate {dependent} dependent from {independent} "
            f"independent pairs: the best AUC over {pairs.layers} layers and all edge rules is "
            f"{best.auc:.3f} (layers {list(best.rule.layers)}, {best.rule.edge_name}), at least "
            f"{settings.least_auc:g} is needed; the median score is "
            f"{quantile(best.dependent, 0.5):.3g} inside and {quantile(best.independent, 0.5):.3g} "
            f"across. Any tau would either let dependent tokens through "
            f"or hold back everything: {INSTEAD}"
        )


def _verify(
    decoder: Decoder, best: Separation, held_out: Sequence[int], stage: Stage
) -> tuple[DAPD, list[Trial]]:
    """Halve tau until the loss is within the tolerance."""
    settings = decoder.probe.settings
    groups = len(list(together(decoder.prompts, held_out, decoder.probe.batch)))
    advance = stage("one token per step", groups)
    reference = decoder.try_out(ONE, TopConfidence(), held_out, advance)
    trials = [compare(ONE, reference, reference)]
    for name, peer in PEERS.items():
        found = decoder.try_out(name, peer, held_out, stage(name, groups))
        trials.append(compare(name, found, reference))

    strategy = suggestion(best, settings)
    for halving in range(settings.halvings + 1):
        name = OURS + f", tau / {2**halving}" * (halving > 0)
        found = decoder.try_out(name, strategy, held_out, stage(name, groups))
        trials.append(compare(name, found, reference))
        if trials[-1].loss <= settings.tolerance:
            return strategy, trials
        if halving < settings.halvings:
            strategy = replace(strategy, tau_min=strategy.tau_min / 2, tau_max=strategy.tau_max / 2)
    raise NotSeparableError(
        f"no tau holds on the {len(held_out)} prompts held out: down to tau = "
        f"{strategy.tau_min:.3g}, texts lose {trials[-1].loss:.3f} nats per token against one "
        f"token per step, at most {settings.tolerance:g} is allowed (AUC {best.auc:.3f}, layers "
        f"{list(best.rule.layers)}, {best.rule.edge_name}): {INSTEAD}. Where confident "
        f"tokens are wrong, a precommit above {settings.precommit:g} helps"
    )


def suggestion(best: Separation, settings: Settings) -> DAPD:
    """The strategy that a separation suggests, before it is verified."""
    tau_min, tau_max = (float(f"{tau:.3g}") for tau in best.taus(settings))
    return DAPD.confident_first(
        tau_min=tau_min,
        tau_max=tau_max,
        layers=list(best.rule.layers),
        edge=best.rule.edge,
        normalize=best.rule.normalize,
        precommit=settings.precommit,
    )


@contextmanager
def _stages(shown: bool, note: str) -> Iterator[Stage]:
    """Begin a stage of so many parts; what it returns is called after each."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    if shown and note:
        console.print(note)
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:

        def stage(what: str, parts: int) -> Advance:
            bar = bars.add_task(what, total=parts)
            return lambda: bars.advance(bar)

        yield stage
