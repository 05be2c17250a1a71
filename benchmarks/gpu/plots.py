"""The charts of a report. Each draws what it finds and is left out where it finds nothing."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gpu import cases, machine
from gpu.report import row_of, share_of_read

OURS = "#0b6e4f"  # as in benchmarks/report.py
THEIRS = ["#8fc7ee", "#f2b84b", "#d99bbf", "#b0b0b0", "#e98a5a", "#5b8db8"]
MUFU_PER_CLOCK = 16  # exponentials per multiprocessor, counted; the clock is taken as 1.755 GHz
CLOCK_HZ = 1.755e9

Report = dict[str, Any]


def draw(report: Report, folder: Path) -> int:
    """How many charts were written; none without matplotlib."""
    if not machine.has("matplotlib"):
        return 0
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    charts: dict[str, Callable[[Report, Any], bool]] = {
        "gpu_confidence": confidence_over_rows,
        "gpu_confidence_k": confidence_over_k,
        "gpu_scores": scores_over_nodes,
        "gpu_sets": sets_over_nodes,
        "gpu_step": step_by_stages,
        "gpu_memory": memory_over_length,
    }
    written = 0
    for name, chart in charts.items():
        figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
        try:
            drawn = chart(report, axes)
        except (KeyError, TypeError, ValueError) as error:  # of a part that failed
            print(f"no chart {name}: {error!r}", file=sys.stderr)
            drawn = False
        if drawn:
            card = report["machine"].get("gpu", "a GPU")
            where = card if report["device"] == "cuda" else "CPU stand-in: not a measurement"
            axes.set_title(f"{axes.get_title()} ({where})")
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend()
            figure.savefig(folder / f"{name}.png", dpi=120)
            written += 1
        pyplot.close(figure)
    return written


def colours() -> Iterable[str]:
    while True:
        yield from THEIRS


def line(
    axes: Any, points: list[tuple[float, float]], label: str, colour: str, **more: Any
) -> bool:
    if points:
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label, color=colour, **more)
    return bool(points)


def time_of(row: Report, who: str) -> float | None:
    timing = row["ours"] if who == "unmask" else row["peers"].get(who, {})
    return timing.get("median_s")


def everybody(rows: list[Report]) -> list[str]:
    return ["unmask", *dict.fromkeys(peer for row in rows for peer in row["peers"])]


def rows_of(report: Report, operator: str, **wanted: Any) -> list[Report]:
    """Rows with a time, whose case has these values."""
    rows = [row for row in report.get("rows", {}).get(operator, []) if "ours" in row]
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def confidence_over_rows(report: Report, axes: Any) -> bool:
    drawn, colour = False, iter(colours())
    for dtype, style in (("bfloat16", "-"), ("float32", "--")):
        rows = rows_of(report, "topk_confidence", dtype=dtype, k=8, temperature=0.0)
        rows = [row for row in rows if row["vocab"] == cases.LLADA]
        for who in everybody(rows):
            points = []
            for row in rows:
                time, share = time_of(row, who), share_of_read(report, row)
                if time and share:
                    points.append((row["rows"], 100 * share * row["ours"]["median_s"] / time))
            shade = OURS if who == "unmask" else next(colour)  # type: ignore[call-overload]
            drawn |= line(axes, points, f"{who}, {dtype}", shade, linestyle=style)
    axes.set(xscale="log", xlabel="rows", ylabel="% of the read ceiling", ylim=(0, 105))
    axes.set_title("topk_confidence, V=126464, k=8")
    return drawn


def confidence_over_k(report: Report, axes: Any) -> bool:
    rows = rows_of(report, "topk_confidence", rows=1024, dtype="bfloat16", temperature=0.0)
    drawn = line(axes, [(row["k"], 1e6 * row["ours"]["median_s"]) for row in rows], "unmask", OURS)
    axes.set(xlabel="k", ylabel="us", ylim=(0, None))
    axes.set_title("topk_confidence, 1024 rows")
    return drawn


def scores_over_nodes(report: Report, axes: Any) -> bool:
    rows = rows_of(report, "attention_scores", heads=32, given="lse")
    drawn, colour = False, iter(colours())
    for who in everybody(rows):
        points = [(row["nodes"], time) for row in rows if (time := time_of(row, who))]
        shade = OURS if who == "unmask" else next(colour)  # type: ignore[call-overload]
        drawn |= line(axes, points, who, shade)
    ceilings, card = report["ceilings"], report["machine"]
    if drawn and card.get("multiprocessors"):
        mufu = MUFU_PER_CLOCK * CLOCK_HZ * card["multiprocessors"]
        tile = 128  # a tile of pairs brings in its own queries and keys: flop per byte of L2
        roofs = {
            "tensor cores": lambda r: r["flop"] / ceilings["gemm_flop_per_s"],
            "exponentials (counted)": lambda r: r["exponentials"] / mufu,
            "memory": lambda r: r["bytes"] / ceilings["read_bytes_per_s"],
        }
        if ceilings.get("l2_read_bytes_per_s"):
            l2 = ceilings["l2_read_bytes_per_s"]
            roofs["L2, tiles of 128"] = lambda r: r["flop"] / (tile / 2) / l2
        for name, roof in roofs.items():
            points = sorted({(row["nodes"], roof(row)) for row in rows})
            axes.plot(*zip(*points, strict=True), linestyle=":", linewidth=1, label=name)
    axes.set(xscale="log", yscale="log", xlabel="masked positions", ylabel="seconds")
    axes.set_title("attention_scores, 10 layers")
    return drawn


def sets_over_nodes(report: Report, axes: Any) -> bool:
    drawn, colour = False, iter(colours())
    for batch, style in ((1, "-"), (132, "--")):
        rows = rows_of(report, "independent_set", batch=batch, degree=8)
        for who in everybody(rows):
            points = [(row["nodes"], time) for row in rows if (time := time_of(row, who))]
            shade = OURS if who == "unmask" else next(colour)  # type: ignore[call-overload]
            drawn |= line(axes, points, f"{who}, B={batch}", shade, linestyle=style)
    if drawn and report["ceilings"].get("graph_kernel_s"):
        empty = report["ceilings"]["graph_kernel_s"]
        axes.axhline(empty, color="black", linewidth=1, label="empty kernel in a graph")
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="seconds")
    axes.set_title("independent_set, mean degree 8")
    return drawn


def step_by_stages(report: Report, axes: Any) -> bool:
    """Stacked, so on a linear axis: what would dwarf ours is cut off, and says how long it is."""
    found = report.get("stages") or []
    if not found:
        return False
    totals = {one["who"]: 1e6 * sum(one["stages"].values()) for one in found}
    left = dict.fromkeys(totals, 0.0)
    for name, shade in zip(found[0]["stages"], [OURS, *THEIRS], strict=False):
        widths = [1e6 * one["stages"][name] for one in found]
        axes.barh(list(left), widths, left=list(left.values()), label=name, color=shade)
        left = {who: left[who] + width for who, width in zip(left, widths, strict=True)}
    if fused := row_of(report, "step", cases.Step("DAPD", 1, 256)):
        for who, contestant in (("unmask, fused", "unmask"), ("script, on the host", "script")):
            if time := time_of(fused, contestant):
                totals[who] = 1e6 * time
                axes.barh([who], [totals[who]], color="#444444")
    limit = 3 * max(total for who, total in totals.items() if who.startswith("unmask"))
    for height, total in enumerate(totals.values()):
        at, side = (limit, "right") if total > limit else (total, "left")
        axes.text(at, height, f" {total:.0f} us ", ha=side, va="center", backgroundcolor="white")
    axes.set(xlim=(0, 1.1 * limit), xlabel="us")
    axes.set_title("one DAPD step, B=1, M=256")
    return True


def memory_over_length(report: Report, axes: Any) -> bool:
    found = report.get("memory") or []
    drawn, colour = False, iter(colours())
    for who in found[0]["peak_bytes"] if found else []:
        peaks = [(one["length"], one["peak_bytes"][who]) for one in found]
        points = [(length, max(peak, 1)) for length, peak in peaks if peak is not None]
        shade = OURS if who.startswith("unmask") else next(colour)  # type: ignore[call-overload]
        style = "--" if who.endswith(("scores", "attention")) else "-"
        drawn |= line(axes, points, who, shade, linestyle=style)
    axes.set(xscale="log", yscale="log", xlabel="positions", ylabel="bytes above the inputs")
    axes.set_title("peak memory of one call")
    return drawn
