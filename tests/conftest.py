from collections.abc import Iterator

import pytest
import torch
from backends import Emulated, backends_of, load_emulation
from unmask.toy import TASKS, Task


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=["cpu", "simt", "cuda"],
        help="only tests that take a device, of every file, and only on this backend",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("backend"):
        taken: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            taken["device" in getattr(item, "fixturenames", ())].append(item)
        config.hook.pytest_deselected(items=taken[False])
        items[:] = taken[True]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        only = metafunc.config.getoption("backend")
        backends = [only] if only else backends_of(metafunc.module.__name__)
        if metafunc.function.__name__ == "test_registration":  # with torch, which knows no "simt"
            backends = [backend for backend in backends if backend != "simt"]
        metafunc.parametrize("device", backends, indirect=True)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Every operator test runs on each backend that has the operator."""
    if request.param != "simt":
        yield torch.device(request.param)
        return
    load_emulation()
    with Emulated():
        yield torch.device("cpu")


@pytest.fixture
def rng(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of many tiny steps, where threads that wait for each other cost the most."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Every toy task."""
    return TASKS[request.param]
