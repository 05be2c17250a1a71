"""How each family of strategies looks in every plot."""

from dataclasses import dataclass

OURS, GREY = "#0b6e4f", "#9a9a9a"


@dataclass(frozen=True)
class Look:
    """Its name in a legend, and its marks."""

    name: str
    colour: str
    marker: str
    filled: bool = True


LOOKS = {
    "one per step": Look("one per step", "#000000", "X"),
    "TopConfidence": Look("TopConfidence", "#000000", "X"),
    "top-k": Look("top-k", "#000000", "x"),
    "Threshold": Look("Threshold", "#e69f00", "s"),
    "EntropyBound": Look("EntropyBound", "#0072b2", "^"),
    "KLASS": Look("KLASS", "#cc79a7", "D"),
    "PUNT": Look("PUNT", "#56b4e9", "v"),
    "DAWN": Look("DAWN", "#d55e00", "P"),
    "CumulativeDependency": Look("CumulativeDependency", "#d55e00", "d", filled=False),
    "DAPD.staged": Look("DAPD.staged", OURS, "o", filled=False),
    "DAPD.direct": Look("DAPD.direct", OURS, "o"),
    "DAPD.confident_first": Look("DAPD.confident_first", OURS, "h"),
    "DAPD, fitted scores": Look("DAPD, fitted scores", OURS, "*"),
    "DAPD, literal rule": Look("DAPD, literal rule", OURS, "p", filled=False),
    # of the controlled experiment
    "random order": Look("random order", GREY, "x"),
    "DAPD, layer 0, literal rule": Look("DAPD, layer 0, literal rule", OURS, "p", filled=False),
    "DAPD, layer 0, raw scores": Look("DAPD, layer 0, raw scores", OURS, "*"),
    "DAPD, layer 0, as published": Look("DAPD, layer 0, as published", OURS, "o"),
    "DAPD, all layers, as published": Look(
        "DAPD, all layers, as published", OURS, "s", filled=False
    ),
    "DAPD, all layers, rowmax": Look("DAPD, all layers, rowmax", OURS, "D", filled=False),
    "DAPD, last 30 % of layers, as published": Look(
        "DAPD, last 30 %, as published", "#56b4e9", "v"
    ),
    "DAPD, last 30 % of layers, literal rule": Look(
        "DAPD, last 30 %, literal rule", "#56b4e9", "v", filled=False
    ),
    "true graph": Look("true graph", "#d55e00", "P"),
    "true graph, wrong order": Look("true graph, wrong order", "#d55e00", "P", filled=False),
    "layer 0, wrong order": Look("layer 0, wrong order", "#d55e00", "d", filled=False),
}


def look_of(family: str) -> Look:
    """The look of a family; the many others share one."""
    return LOOKS.get(family, Look("other strategies", GREY, "."))
