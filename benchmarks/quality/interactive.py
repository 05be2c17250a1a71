"""The Pareto plot to explore: one self-contained HTML file of hand-made SVG, some 50 KB.

Point at a mark to read the strategy and its numbers; point at a name to see it alone.
"""

import math
from html import escape
from pathlib import Path
from typing import Any

from quality.results import Results
from quality.styles import GREY, look_of

WIDTH, HEIGHT, MARGIN = 620, 380, 46
TITLES = {"mixed": "Five questions, mixed", "grammar": "Sentences"}
MOST = 64.0  # forward passes at the right edge
TICKS = (1, 2, 3, 5, 10, 20, 50)

STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2em auto; max-width: 1300px; color: #222 }
svg { width: 620px; max-width: 100%; font-size: 12px }
line { stroke: #ddd }
.mark { stroke: white; stroke-width: .7; opacity: .9 }
.mark:hover { stroke: black; stroke-width: 2 }
.name { display: inline-block; margin: 0 1em .3em 0; cursor: default }
.name b { display: inline-block; width: .8em; height: .8em; border-radius: 50% }
body[data-only] .mark { opacity: .06 }
body[data-only] .mark.shown { opacity: 1 }
#told { min-height: 1.5em; font-weight: 600 }
"""

SCRIPT = """
const told = document.getElementById("told");
document.querySelectorAll(".mark").forEach(mark =>
  mark.addEventListener("pointerenter", () => told.textContent = mark.dataset.told));
document.querySelectorAll(".name").forEach(name => {
  const marks = document.querySelectorAll(`.mark[data-family="${name.dataset.family}"]`);
  name.addEventListener("pointerenter", () => {
    document.body.dataset.only = ""; marks.forEach(mark => mark.classList.add("shown")); });
  name.addEventListener("pointerleave", () => {
    delete document.body.dataset.only; marks.forEach(mark => mark.classList.remove("shown")); });
});
"""


def draw(results: Results, folder: Path) -> None:
    """Write pareto.html."""
    boards = {board: results["boards"][board]["grid"] for board in TITLES}
    families = dict.fromkeys(row["family"] for rows in boards.values() for row in rows)
    names = "".join(
        f'<span class="name" data-family="{escape(family)}">'
        f'<b style="background:{look_of(family).colour}"></b> {escape(family)}</span>'
        for family in families
    )
    panels = "".join(_panel(board, rows) for board, rows in boards.items())
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Accuracy and steps</title>'
        f"<style>{STYLE}</style><h1>Accuracy against forward passes</h1>"
        "<p>Every setting of every strategy, mean over seeds. Point at a mark or at a name.</p>"
        f'<p>{names}</p><p id="told"></p>{panels}<script>{SCRIPT}</script></html>\n'
    )
    (folder / "pareto.html").write_text(page, encoding="utf-8")


def _panel(board: str, rows: list[dict[str, Any]]) -> str:
    """One board as an SVG; the marks that stand out are drawn last."""
    parts = [f'<text x="{WIDTH / 2}" y="18" text-anchor="middle">{TITLES[board]}</text>']
    for tick in TICKS:
        x = _x(tick)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}"/>')
        parts.append(f'<text x="{x}" y="{HEIGHT - 28}" text-anchor="middle">{tick}</text>')
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{MARGIN - 8}" y="{y + 4}" text-anchor="end">{tenth / 10}</text>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        "forward passes per sequence (log)</text>"
        f'<text transform="translate(12 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "accuracy</text>"
    )
    parts += [_mark(row) for row in sorted(rows, key=lambda r: look_of(r["family"]).colour != GREY)]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'


def _mark(row: dict[str, Any]) -> str:
    look = look_of(row["family"])
    told = f"{row['sampler']}: {row['steps']:.2f} passes, accuracy {row['score']:.3f}"
    filling = look.colour if look.filled else "white"
    edge = "" if look.filled else f' style="stroke:{look.colour};stroke-width:2"'
    return (
        f'<circle class="mark" cx="{_x(row["steps"])}" cy="{_y(row["score"])}" r="6" '
        f'fill="{filling}"{edge} data-family="{escape(row["family"])}" '
        f'data-told="{escape(told)}"><title>{escape(told)}</title></circle>'
    )


def _x(steps: float) -> float:
    share = math.log(max(steps, 1.0)) / math.log(MOST)
    return round(MARGIN + min(share, 1.0) * (WIDTH - 2 * MARGIN), 1)


def _y(score: float) -> float:
    return round(HEIGHT - MARGIN - score * (HEIGHT - 2 * MARGIN), 1)
