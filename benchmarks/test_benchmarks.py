"""``pytest benchmarks``: the same cases under pytest-benchmark, which compares and stores runs."""

from pathlib import Path
from typing import Any

import harness
import pytest
import run

CASES = [
    pytest.param(module, case, id=f"{module.OPERATOR}-{case}")
    for module in run.modules()
    for case in module.cases()
]


@pytest.mark.parametrize(("module", "case"), CASES)
def test_speed(benchmark: Any, module: Any, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times the contestant "unmask" of each case; the peers only have to agree with it."""
    caught: dict[str, harness.Contestant] = {}

    def catch(operator: str, name: str, contestants: Any, **extra: Any) -> dict[str, Any]:
        caught.update(contestants)
        return {}

    monkeypatch.setattr(harness, "result", catch)
    module.run(case)
    assert "unmask" in caught, f"{module.__name__}.run must time with harness.result"
    benchmark.group = module.OPERATOR
    benchmark.pedantic(caught["unmask"], rounds=harness.EFFORT.repeats, warmup_rounds=2)


def test_every_module_says_what_it_measures() -> None:
    modules = run.modules()
    assert len(modules) == len(list(Path(run.__file__).parent.glob("bench_*.py")))
    for module in modules:
        assert module.__doc__
        assert module.__name__ == f"bench_{module.OPERATOR}"
