"""What a calibration found."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import unmask
from unmask.calibration.separation import QUANTILES, Separation, quantile
from unmask.calibration.settings import Settings
from unmask.calibration.verification import Trial
from unmask.strategies import DAPD, save_strategy


@dataclass(frozen=True)
class Calibration:
    """Settings of DAPD for one model, and what they rest on.

    Attributes:
        strategy: the suggestion, verified; :func:`unmask.generate` takes it.
        model: its name.
        settings: how it was measured.
        prompts: how many were measured, and how many verified.
        states: how many were measured, and how many there would be without a budget.
        pairs: how many are dependent, and independent.
        best: layers and edge rule of the suggestion, with all scores.
        single: every edge rule with every layer alone.
        chosen: every edge rule with the choices of layers that took part.
        trials: one token per step, other strategies, and the suggestions until one held: the last.
    """

    strategy: DAPD
    model: str
    settings: Settings
    prompts: tuple[int, int]
    states: tuple[int, int]
    pairs: tuple[int, int]
    best: Separation
    single: tuple[Separation, ...]
    chosen: tuple[Separation, ...]
    trials: tuple[Trial, ...]

    @property
    def halvings(self) -> int:
        """How often tau had to be halved."""
        return sum(trial.strategy.startswith("DAPD") for trial in self.trials) - 1

    @property
    def steps_saved(self) -> float:
        """The share of forward passes saved against one token per step."""
        return 1 - self.trials[-1].steps / self.trials[0].steps

    @property
    def faster_peer(self) -> Trial | None:
        """The fastest strategy without a graph that is as good and needs no more steps."""
        ours = self.trials[-1]
        others = [
            trial
            for trial in self.trials[1:]
            if not trial.strategy.startswith("DAPD")
            and trial.loss <= self.settings.tolerance
            and trial.steps <= ours.steps
        ]
        return min(others, key=lambda trial: trial.steps, default=None)

    def layer_aucs(self) -> dict[str, list[float]]:
        """AUC of each layer alone, for each edge rule."""
        found: dict[str, list[float]] = {}
        for each in self.single:
            found.setdefault(each.rule.edge_name, []).append(round(each.auc, 4))
        return found

    def notes(self) -> dict[str, Any]:
        """The tables that :meth:`save` writes beside the strategy."""
        best = self.best
        return {
            "calibration": {
                "model": self.model,
                "prompts_measured": self.prompts[0],
                "prompts_verified": self.prompts[1],
                "states": self.states[0],
                "dependent_pairs": self.pairs[0],
                "independent_pairs": self.pairs[1],
                "auc": round(best.auc, 4),
                "halvings": self.halvings,
                "unmask": unmask.__version__,
                "torch": torch.__version__,
                "settings": asdict(self.settings),
                "scores": {
                    "quantiles": list(QUANTILES),
                    "dependent": [quantile(best.dependent, share) for share in QUANTILES],
                    "independent": [quantile(best.independent, share) for share in QUANTILES],
                    "independent_above_tau_min": best.false_edges(self.strategy.tau_min),
                },
                "layer_auc": self.layer_aucs(),
                "trials": {
                    trial.strategy: {k: v for k, v in trial.to_dict().items() if k != "strategy"}
                    for trial in self.trials
                },
            }
        }

    def save(self, path: str | Path) -> None:
        """Write the strategy and what was measured: TOML for :func:`unmask.load_strategy`."""
        save_strategy(self.strategy, path, notes=self.notes())

    def plot(self, path: str | Path) -> None:
        """Draw scores, layers and steps into one PNG, SVG or PDF. Needs matplotlib."""
        from unmask.calibration.plot import draw

        draw(self, path)
