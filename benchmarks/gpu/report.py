"""From gpu.json to docs/performance.md: tables of what was measured, "not measured" where nothing
was.

python benchmarks/gpu/report.py
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu import cases

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks" / "results" / "gpu.json"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
NOTHING = "not measured"

Report = dict[str, Any]


def load(path: Path = STORED) -> Report:
    """The stored report; an empty one where there is none. A CPU's figures are nobody's."""
    found: Report = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("device") == "cuda" else {}


def rewrite(report: Report | None = None, document: Path = DOCUMENT) -> None:
    """Put the tables between the document's two markers."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document.name} must have the markers {BEGIN} and {END}")
    tables = markdown(load() if report is None else report)
    document.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


# --- targets -------------------------------------------------------------------------------------


class Target(NamedTuple):
    """What is asked for, and what a report says about it: text, and whether it is met."""

    what: str
    judge: Callable[[Report], tuple[str, bool] | None]


def row_of(report: Report, operator: str, case: Any) -> Report | None:
    """A row with a time that counts: a wrong answer has none."""
    for row in report.get("rows", {}).get(operator, []):
        if row["case"] == str(case) and "ours" in row:
            return dict(row)
    return None


def share_of_read(report: Report, row: Report) -> float | None:
    ceiling = report.get("ceilings", {}).get("read_bytes_per_s")
    return row["bytes"] / ceiling / row["ours"]["median_s"] if ceiling else None


def _bandwidth(least: float) -> Callable[[Report], tuple[str, bool] | None]:
    def judge(report: Report) -> tuple[str, bool] | None:
        wanted = [cases.TopK(rows) for rows in (1024, 4096, 32768)]
        rows = [row_of(report, "topk_confidence", case) for case in wanted]
        shares = [share_of_read(report, row) for row in rows if row]
        if len(shares) < len(wanted) or None in shares:
            return None
        lowest = min(share for share in shares if share is not None)
        return f"{100 * lowest:.0f} % at least", lowest >= least

    return judge


def _times(peer: str, rows: tuple[int, ...], least: float) -> Callable[..., Any]:
    def judge(report: Report) -> tuple[str, bool] | None:
        found = [row_of(report, "topk_confidence", cases.TopK(count)) for count in rows]
        ratios = [
            row["peers"][peer]["median_s"] / row["ours"]["median_s"]
            for row in found
            if row and "median_s" in row["peers"].get(peer, {})
        ]
        if len(ratios) < len(rows):
            return None
        return f"{min(ratios):.2f}x at least", min(ratios) >= least

    return judge


def _within(operator: str, wanted: list[Any], most_s: float) -> Callable[..., Any]:
    def judge(report: Report) -> tuple[str, bool] | None:
        rows = [row_of(report, operator, case) for case in wanted]
        slowest = max((row["ours"]["median_s"] for row in rows if row), default=0.0)
        if not all(rows):
            return None
        return seconds(slowest), slowest <= most_s

    return judge


def _no_waits(report: Report) -> tuple[str, bool] | None:
    rows = [row for row in report.get("rows", {}).get("step", []) if "ours" in row]
    waits = [row["host_syncs"] for row in rows if row.get("host_syncs") is not None]
    return (f"{max(waits)} in {len(waits)} cases", max(waits) == 0) if waits else None


def _traces(report: Report) -> tuple[str, bool] | None:
    tally = report.get("traces")
    if not tally or not tally["compared"]:
        return None
    equal = tally["equal"] == tally["compared"] >= tally["asked_for"]
    return f"{tally['equal']} of {tally['compared']}", equal


def _tests(report: Report) -> tuple[str, bool] | None:
    tally = report.get("tests")
    if not tally:
        return None
    good = tally["failed"] == 0 and tally["passed"] > 0
    return f"{tally['passed']} passed, {tally['failed']} failed", good


def _sanitizers(report: Report) -> tuple[str, bool] | None:
    verdicts = report.get("sanitizers")
    if not verdicts or all(text.startswith("not run") for text in verdicts.values()):
        return None
    said = "; ".join(f"{name} {text}" for name, text in verdicts.items())
    return said.replace("|", "/"), set(verdicts.values()) == {"clean"}


LARGE = (1024, 4096)
TARGETS = [
    Target("`topk_confidence`: 85 % of the read ceiling from 1024 bfloat16 rows up",
           _bandwidth(0.85)),
    Target("`topk_confidence`: 2x as fast as torch.compile there",
           _times("torch.compile", LARGE, 2.0)),
    Target("`topk_confidence`: 1.3x as fast as the Triton peer at 32 rows",
           _times("Triton", (32,), 1.3)),
    Target("`independent_set`: 132 graphs of 1024 nodes within 15 us",
           _within("independent_set", [cases.Sets(132, 1024, d) for d in (8, 128)], 15e-6)),
    Target("`attention_scores`: ten LLaDA layers, M = 256, LSE given, within 30 us",
           _within("attention_scores", [cases.Scores(256, n) for n in (1024, 4096)], 30e-6)),
    Target("`dapd_step_`: B = 1, M = 256 within 40 us in a graph",
           _within("step", [cases.Step("DAPD", 1, 256)], 40e-6)),
    Target("fused steps: the host never waits", _no_waits),
    Target("decoding: every trace that is clear by 1e-5 equals the CPU's, token by token", _traces),
    Target("the operators' tests pass on the GPU", _tests),
    Target("memcheck, racecheck, initcheck and synccheck find nothing", _sanitizers),
]  # fmt: skip


def targets(report: Report) -> list[tuple[str, str, str]]:
    """What, what was found, and met or not."""
    found = []
    for target in TARGETS:
        verdict = target.judge(report)
        text, met = verdict if verdict else (NOTHING, False)
        found.append((target.what, text, ("met" if met else "not met") if verdict else NOTHING))
    return found


# --- tables --------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """Everything between the document's markers."""
    lines = ["", _where(report), "", "| target | found | |", "|-|-|-|"]
    lines += [f"| {what} | {found} | {met} |" for what, found, met in targets(report)]
    lines += ["", *_ceilings(report), "", *_parts(report)]
    for operator in cases.CASES:
        lines += ["", f"**`{operator}`**", "", *_rows(report, operator)]
    return "\n".join([*lines, "", ""])


def summary(report: Report) -> str:
    """The targets, for a terminal."""
    if report["device"] != "cuda":
        return "on the CPU, with tiny cases: the command works; nothing here is a measurement"
    lines = [f"{met:<13} {what.replace('`', '')}: {found}" for what, found, met in targets(report)]
    return "\n".join(lines)


def _where(report: Report) -> str:
    if not report:
        return "No GPU has run these kernels yet: every cell that needs one says so."
    facts = report.get("machine")
    if not facts:
        return "`make gpu-check` on a card that could not be asked for its name."
    commit = facts["commit"][:12] + ("+" if facts["dirty"] else "")
    return (
        f"`make gpu-check` on {facts['gpu']}, driver {facts.get('driver')}, CUDA {facts['nvcc']}, "
        f"torch {facts['torch']}, Triton {facts['triton'] or 'not there'}, commit {commit}."
    )


def _ceilings(report: Report) -> list[str]:
    found = report.get("ceilings", {})
    named = [
        ("copy, bytes read and written", "copy_bytes_per_s", 1e-12, "TB/s"),
        ("read only", "read_bytes_per_s", 1e-12, "TB/s"),
        ("read out of L2", "l2_read_bytes_per_s", 1e-12, "TB/s"),
        ("bfloat16 product, 8192 cubed", "gemm_flop_per_s", 1e-12, "TFLOP/s"),
        ("an empty kernel in a graph", "graph_kernel_s", 1e6, "us"),
    ]
    lines = ["| ceiling | |", "|-|-:|"]
    for what, key, scale, unit in named:
        value = found.get(key)
        lines.append(f"| {what} | {NOTHING if value is None else f'{value * scale:.3g} {unit}'} |")
    return lines


def _parts(report: Report) -> list[str]:
    lines = []
    for name, tally in (("tests", _tests(report)), ("sanitizers", _sanitizers(report))):
        lines.append(f"- {name}: {tally[0] if tally else NOTHING}")
    failed = [part for part in report.get("parts", []) if part["status"] == "failed"]
    lines += [f"- part {part['name']} failed: {_first_line(part['message'])}" for part in failed]
    return lines


def _rows(report: Report, operator: str) -> list[str]:
    """One line per case that there is, measured or not."""
    measured = {row["case"]: row for row in report.get("rows", {}).get(operator, [])}
    peers = list(dict.fromkeys(p for row in measured.values() for p in row.get("peers", {})))
    peers = peers or PEERS[operator]
    extra = ["launches", "host syncs"] if operator == "step" else []
    head = ["case", "bytes", *(["flop"] if operator == "attention_scores" else [])]
    head += ["unmask", "of the floor", *(f"{peer}, of ours" for peer in peers), *extra]
    lines = ["| " + " | ".join(head) + " |", "|-" + "|-:" * (len(head) - 1) + "|"]
    for case in cases.CASES[operator]:
        cells = [str(case), amount(case.bytes, "B")]
        cells += [amount(case.flop, "flop")] if operator == "attention_scores" else []
        cells += _cells(report, measured.get(str(case)), peers, len(extra))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cells(report: Report, row: Report | None, peers: list[str], extra: int) -> list[str]:
    if row is None or "ours" not in row:
        trouble = (
            next((f"{k}: {row[k]}" for k in ("wrong", "failed") if k in row), "") if row else ""
        )
        cells = [_first_line(trouble).replace("|", "/") or NOTHING]
        return cells + [NOTHING] * (1 + len(peers) + extra)
    ours = row["ours"]["median_s"]
    share = floor_s(report, row)
    cells = [seconds(ours), f"{100 * share / ours:.0f} %" if share else NOTHING]
    for peer in peers:
        timing = row["peers"].get(peer, {})
        cells.append(f"{timing['median_s'] / ours:.2f}x" if "median_s" in timing else "-")
    counts = [row.get("launches"), row.get("host_syncs")][:extra]
    return cells + [NOTHING if count is None else str(count) for count in counts]


PEERS = {
    "topk_confidence": ["Triton", "torch.compile", "float64"],
    "attention_scores": ["Triton", "torch.compile", "eager attention"],
    "independent_set": ["torch, dense rounds", "unmask, one core"],
    "step": ["script"],
}


def floor_s(report: Report, row: Report) -> float | None:
    """No faster than its bytes and its operations, at the ceilings of the same run."""
    found = report.get("ceilings", {})
    read, gemm = found.get("read_bytes_per_s"), found.get("gemm_flop_per_s")
    return max(row["bytes"] / read, row["flop"] / gemm) if read and gemm else None


def seconds(value: float) -> str:
    """Three digits, in a unit people use."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def amount(value: float, unit: str) -> str:
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


if __name__ == "__main__":
    rewrite()
