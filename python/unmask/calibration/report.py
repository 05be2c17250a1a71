"""A calibration in words and tables."""

from rich.console import Console
from rich.table import Table

from unmask.calibration.result import Calibration
from unmask.calibration.separation import QUANTILES, quantile


def show(found: Calibration, console: Console) -> None:
    """Print what was measured, what is suggested, and what it saves."""
    dependent, independent = found.pairs
    console.print(
        f"\n[bold]{found.model}[/bold]: {found.states[0]} states of {found.prompts[0]} prompts; "
        f"{dependent} pairs depend on each other, {independent} do not."
    )
    for table in (_rules(found), _quantiles(found), _trials(found)):
        console.print(table)
    strategy = found.strategy
    taus = f"tau {strategy.tau_min:.3g}"
    if strategy.tau_max != strategy.tau_min:
        taus += f" to {strategy.tau_max:.3g}"
    console.print(
        f"Suggested: [bold green]{taus}[/], layers {strategy.layers}, edges "
        f"{found.best.rule.edge_name}: the largest tau that keeps {found.settings.keep:.0%} of the "
        f"dependent pairs, times {found.settings.margin:g}"
        + (f", halved {found.halvings} times" if found.halvings else "")
        + f". It saves {found.steps_saved:.0%} of the steps."
    )
    if (peer := found.faster_peer) is not None:
        console.print(
            f"[yellow]{peer.strategy} needs no graph and no more steps ({peer.steps:.2f}): it is "
            "the better choice here.[/]"
        )


def _rules(found: Calibration) -> Table:
    """AUC by layers (rows) and edge rule (columns), the chosen one marked."""
    table = Table(
        title="\nAUC: how well scores tell dependent from independent pairs", title_justify="left"
    )
    table.add_column("layers", no_wrap=True)
    edges = list(found.layer_aucs())
    for edge in edges:
        table.add_column(edge, justify="right")
    rows: dict[str, dict[str, str]] = {}
    for each in found.chosen:
        auc = f"{each.auc:.3f}"
        if each.rule == found.best.rule:
            auc = f"[bold green]{auc}[/]"
        row = rows.setdefault(f"{_numbers(each.rule.layers)}", {})
        row[each.rule.edge_name] = auc
    for layers, row in rows.items():
        table.add_row(layers, *[row.get(edge, "") for edge in edges])
    return table


def _numbers(layers: tuple[int, ...]) -> str:
    """(4, 5, 6) -> 4-6, (0, 2) -> 0 2."""
    first, last = layers[0], layers[-1]
    if len(layers) > 2 and layers == tuple(range(first, last + 1)):
        return f"{first}-{last}"
    return " ".join(map(str, layers))


def _quantiles(found: Calibration) -> Table:
    table = Table(
        title=f"\nScores, layers {_numbers(found.best.rule.layers)}, {found.best.rule.edge_name}",
        title_justify="left",
    )
    table.add_column("pairs")
    for share in QUANTILES:
        table.add_column(f"{share:.0%}", justify="right")
    for name, values in (
        ("dependent", found.best.dependent),
        ("independent", found.best.independent),
    ):
        table.add_row(name, *[f"{quantile(values, share):.3g}" for share in QUANTILES])
    return table


def _trials(found: Calibration) -> Table:
    table = Table(title=f"\nOn {found.prompts[1]} prompts held out", title_justify="left")
    table.add_column("strategy", no_wrap=True)
    for column in ("steps", "fewer steps", "nats per token", "loss"):
        table.add_column(column, justify="right")
    for trial in found.trials:
        good = trial.loss <= found.settings.tolerance
        table.add_row(
            trial.strategy,
            f"{trial.steps:.2f}",
            f"{found.trials[0].steps / trial.steps:.1f}x",
            f"{trial.likelihood:.3f}",
            f"{trial.loss:+.3f} ± {trial.error:.3f}",
            style="bold green" if trial is found.trials[-1] else ("" if good else "red"),
        )
    return table
