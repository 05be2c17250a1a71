from collections.abc import Iterator

import pytest
import torch

BACKENDS = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=BACKENDS)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every operator test runs on each backend this machine has."""
    return torch.device(request.param)


@pytest.fixture
def rng(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tests of many tiny steps, where threads that wait for each other cost the most."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
