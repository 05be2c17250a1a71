"""unmask plot, as typed."""

import json
from pathlib import Path

import pytest
from runs import made_up, toy_trace
from unmask import cli

pytestmark = pytest.mark.usefixtures("one_thread")

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "run.json"
    toy_trace("grammar").save(path)
    return str(path)


def test_the_picture_lies_beside_the_trace(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plot", file]) == 0
    picture = Path(file).with_suffix(".png")
    assert picture.read_bytes().startswith(PNG)
    told = capsys.readouterr().out
    assert f"wrote {picture}\n" in told
    assert "--row up to 1; --step up to 1 for other graphs" in told


@pytest.mark.parametrize("kind", ["order", "graph", "steps"])
def test_each_kind_has_its_own_picture(kind: str, file: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert cli.main(["plot", file, "-o", str(one), "--kind", kind]) == 0
    assert cli.main(["plot", file, "-o", str(other), "--kind", kind, "--row", "1"]) == 0
    assert one.read_bytes() != other.read_bytes()
    assert len(one.read_bytes()) > 3000


def test_the_suffix_says_the_format_and_dpi_the_size(file: str, tmp_path: Path) -> None:
    assert cli.main(["plot", file, "-o", str(tmp_path / "a.svg"), "--kind", "steps"]) == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
    sizes = []
    for dpi in ("50", "100"):
        picture = tmp_path / f"{dpi}.png"
        command = ["plot", file, "-o", str(picture), "--kind", "steps", "--dpi", dpi]
        assert cli.main(command) == 0
        sizes.append(int.from_bytes(picture.read_bytes()[16:20], "big"))
    assert sizes == [500, 1000]


def test_a_bare_trace_is_drawn_and_told_how_to_become_richer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up([0, 1, -1]).save(tmp_path / "bare.json")
    assert cli.main(["plot", str(tmp_path / "bare.json")]) == 0
    told = capsys.readouterr().out
    assert 'return_trace="graph"' in told
    assert "trace.with_words(tokenizer.decode).save(...)" in told


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--row", "2"], "row must be below 2, the trace's rows, got 2"),
        (["--row", "-1"], "row must be an int >= 0, got -1"),
        (["--step", "7"], "step must be below 2, the trace's steps, got 7"),
        (["--dpi", "0"], "--dpi must be at least 1, got 0"),
        (["-o", "run.bmpx"], "Format 'bmpx' is not supported (supported formats:"),
        (["-o", "no-such-folder/run.png"], "No such file or directory: 'no-such-folder/run.png'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(
    options: list[str], sentence: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plot", file, *options]) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_missing_trace_is_told_how_to_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plot", str(tmp_path / "none.json")]) == 1
    told = "".join(capsys.readouterr().err.split())
    assert "to make one: unmask demo --watch --save-trace".replace(" ", "") in told


def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"n": 1}))
    assert cli.main(["plot", str(tmp_path / "other.json")]) == 1
    assert "must hold a trace" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_kind_is_wrong_usage(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["plot", file, "--kind", "heat"])
    assert stopped.value.code == 2
    assert "invalid choice: 'heat'" in capsys.readouterr().err
