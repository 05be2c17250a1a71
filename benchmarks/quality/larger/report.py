"""What the larger experiment found, in Markdown, from its results file alone.

python benchmarks/quality/larger/report.py   # prints the section
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "results" / "quality" / "larger.json"
NEAR_ONE = 0.95
LEARNT = 0.5  # of the questions of a kind
WITHIN = 0.02  # of the accuracy of one answer per step: as good, for this many texts
COMMAND = "python benchmarks/quality/larger/run.py"


def section(results: dict[str, Any]) -> str:
    """The Markdown of one section, without its headline."""
    return "\n".join(
        [
            *_setting(results),
            *_dependencies(results),
            *_decoding(results),
            *_kinds(results),
            *_verdict(results),
        ]
    )


def _setting(results: dict[str, Any]) -> list[str]:
    model, trained = results["model"], results["trained"]
    one = _row(results, "one per step", None)
    level = (
        "close to all of them"
        if one["score"] >= NEAR_ONE
        else "so the rows below are to be read relative to this model, not to a perfect one"
    )
    return [
        f"{results['questions']} questions of five kinds behind a header that some of them look up:"
        f" {results['prompt']} prompt tokens, {results['answers']} masked answers. "
        f"{model['layers']} layers of width {model['hidden']}, {model['heads']} query heads on "
        f"{model['key_heads']} heads of keys, rotary positions, {results['parameters']:,} "
        f"parameters, trained {trained['seconds'] / 60:.0f} minutes "
        f"({trained['step']:,} steps, {trained['questions']:,} questions; "
        f"{results['machine']}). One model, {results['count']} fresh texts. One answer per step "
        f"gets {one['score']:.3f} of the questions right, {level}. "
        f"Again: `{COMMAND} --minutes {trained['seconds'] / 60:.0f} --count {results['count']}`.",
        "",
        *_not_learnt(one["kinds"]),
    ]


def _not_learnt(kinds: dict[str, float]) -> list[str]:
    """What the model cannot do however carefully it is decoded."""
    weak = [f"`{kind}` ({score:.3f})" for kind, score in kinds.items() if score < LEARNT]
    if not weak:
        return []
    return [
        f"Not learnt in that time: {', '.join(weak)}, at one answer per step. On these questions "
        "the model is unsure of everything, so they cost careful rules passes and no rule accuracy;"
        " what follows says little about them.",
        "",
    ]


def _dependencies(results: dict[str, Any]) -> list[str]:
    masked, half = results["layers"]["masked"], results["layers"]["half"]
    rules = list(masked)
    lines = [
        "**Where the dependencies are.** Edges are pairs of answers that depend on each other, "
        "given the prompt; they are compared with pairs from different questions. AUC (1: every "
        "edge scores higher; 0.5: chance) and ratio of mean scores; all answers masked, and in "
        "brackets half of them revealed.",
        "",
    ]
    for kind in half["raw"]["all"]["kinds"]:
        rows = []
        for name in masked["raw"]:
            cells = []
            for rule in rules:
                now, later = masked[rule][name]["kinds"][kind], half[rule][name]["kinds"][kind]
                cells.append(f"{now['auc']:.3f} ({later['auc']:.3f})")
                cells.append(f"{now['ratio']:.1f} ({later['ratio']:.1f})")
            rows.append([name, *cells])
        unknown = "" if kind in _learnt(results) else ", which the model has not learnt"
        lines += [f"Edges of `{kind}`{unknown}:", ""]
        lines += _table(
            ["layers", *(f"{rule} {what}" for rule in rules for what in ("AUC", "ratio"))], rows
        )
    return [*lines, *_loudest(masked["raw"]), "![AUC by layer](quality/larger_layers.png)", ""]


def _loudest(raw: dict[str, Any]) -> list[str]:
    """Which layer to read, by raw scores of the text that is all masked."""
    single = [name for name in raw if name.startswith("layer ")]
    told = []
    for kind in raw["all"]["kinds"]:
        auc = {name: row["kinds"][kind]["auc"] for name, row in raw.items()}
        best = max(single, key=auc.__getitem__)
        told.append(
            f"By raw scores, {best} tells edges of `{kind}` best ({auc[best]:.3f}; layer 0 "
            f"{auc['layer 0']:.3f}, the mean of all {auc['all']:.3f}, of the last 30 % "
            f"{auc['last 30 %']:.3f})."
        )
    best = max(single, key=lambda name: raw[name]["auc"])
    told.append(
        f"In {best}, edges of all kinds score {raw[best]['ratio']:.1f} times what pairs of two "
        "questions do, and pairs of the same question that do not depend on each other "
        f"{raw[best]['ratio_other_inside']:.1f} times."
    )
    return [" ".join(told), ""]


def _decoding(results: dict[str, Any]) -> list[str]:
    sizes = (None, results["block"])
    head = [
        "strategy",
        *(f"{_size(size)}: {what}" for size in sizes for what in ("steps", "right")),
    ]
    names = dict.fromkeys(row["strategy"] for row in results["rows"])
    rows = []
    for name in names:
        cells = []
        for size in sizes:
            row = _row(results, name, size)
            cells += [f"{row['steps']:.1f}", f"{row['score']:.3f} ± {row['error']:.3f}"]
        rows.append([name, *cells])
    return [
        "**Decoding.** Forward passes per text, and the share of questions answered correctly, with"
        " the standard error over texts. Settings are those published; the text after the comma "
        "says whose attention DAPD reads.",
        "",
        *_table(head, rows),
        "![steps and accuracy](quality/larger_decoding.png)",
        "",
    ]


def _kinds(results: dict[str, Any]) -> list[str]:
    rows = [
        [row["strategy"], *(f"{row['kinds'][kind]:.3f}" for kind in results["kinds"])]
        for row in results["rows"]
        if row["block"] is None
    ]
    return [
        "By kind of question, all answers at once (`split` and `twice` have several right answers,"
        " whose parts depend on each other; the others have one):",
        "",
        *_table(["strategy", *results["kinds"]], rows),
    ]


def _verdict(results: dict[str, Any]) -> list[str]:
    learnt = _learnt(results)
    lines = [
        f"**Which defaults survive.** Judged by the mean accuracy over {', '.join(learnt)}, against"
        " that of one answer per step:",
        "",
    ]
    for size in (None, results["block"]):
        one = _row(results, "one per step", size)
        rows = [row for row in results["rows"] if row["block"] == size and row is not one]
        gain = {row["strategy"]: _mean(row, learnt) - _mean(one, learnt) for row in rows}
        good = [row for row in rows if gain[row["strategy"]] >= -WITHIN]
        lost = [row for row in rows if row not in good]
        good.sort(key=lambda row: row["steps"])
        kept = ", ".join(f"{row['strategy']} {row['steps']:.1f}" for row in good) or "none"
        gone = ", ".join(
            f"{row['strategy']} {gain[row['strategy']]:+.3f} ({row['steps']:.1f} passes)"
            for row in lost
        )
        lines.append(
            f"- {_size(size)}: within {WITHIN} of one answer per step ({_mean(one, learnt):.3f} in "
            f"{one['steps']:.0f} passes), fewest passes first: {kept}. "
            f"Loses more than that: {gone or 'none'}."
        )
    return [*lines, ""]


def _learnt(results: dict[str, Any]) -> list[str]:
    """The kinds that one answer per step mostly gets right; all of them where there is none."""
    kinds = _row(results, "one per step", None)["kinds"]
    return [kind for kind, score in kinds.items() if score >= LEARNT] or list(kinds)


def _mean(row: dict[str, Any], kinds: Sequence[str]) -> float:
    return sum(float(row["kinds"][kind]) for kind in kinds) / len(kinds)


def _size(block: int | None) -> str:
    return "one block" if block is None else f"blocks of {block}"


def _row(results: dict[str, Any], name: str, block: int | None) -> dict[str, Any]:
    found: dict[str, Any] = next(
        row for row in results["rows"] if row["strategy"] == name and row["block"] == block
    )
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is text, the others numbers."""
    align = ["-", *["-:"] * (len(head) - 1)]
    return [*(f"| {' | '.join(cells)} |" for cells in (head, align, *rows)), ""]


if __name__ == "__main__":
    print(section(json.loads(RESULTS.read_text())))
