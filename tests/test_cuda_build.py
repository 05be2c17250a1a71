"""Every kernel compiles for every architecture without a warning or a spill, and uses the registers
and the shared memory that are written down.

Without nvcc there is nothing to compile: pytest then reports these tests as having an empty
parameter set, which is how this suite says that they did not run.
"""

import json
import shutil
from pathlib import Path

import pytest
from cuda_resources import KERNELS, TABLE, measure, nvcc, nvcc_version

pytestmark = pytest.mark.slow

TO_COMPILE = KERNELS if nvcc() else []


@pytest.mark.parametrize("source", TO_COMPILE, ids=lambda path: path.stem)
def test_kernels_compile_and_use_what_is_written_down(source: Path) -> None:
    usage = measure(source)  # refuses warnings and spills, whatever the version of nvcc
    table = json.loads(TABLE.read_text())
    assert source.stem in table["kernels"], "run python tests/cuda_resources.py"
    if nvcc_version() == table["nvcc"]:  # another one allocates registers in its own way
        assert usage == table["kernels"][source.stem], "on purpose? python tests/cuda_resources.py"


def test_the_table_is_of_the_kernels_there_are() -> None:
    assert sorted(json.loads(TABLE.read_text())["kernels"]) == [path.stem for path in KERNELS]


@pytest.mark.parametrize("architecture", ["80"] if nvcc() else [])
def test_a_spill_would_be_noticed(architecture: str, tmp_path: Path) -> None:
    from cuda_resources import compile_one

    assert shutil.which("c++filt")
    source = tmp_path / "spilling.cu"
    source.write_text(
        "__global__ void __launch_bounds__(1024, 2) spilling(float* data) {\n"
        "  float kept[64];\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < 64; ++i) kept[i] = data[i * 1024 + threadIdx.x];\n"
        "  __syncthreads();\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < 64; ++i) data[i * 1024 + threadIdx.x] = kept[63 - i] * kept[i];\n"
        "}\n"
    )
    with pytest.raises(RuntimeError, match="spill"):
        compile_one(source, architecture)
