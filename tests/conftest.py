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
