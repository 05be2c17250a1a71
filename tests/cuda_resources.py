"""Registers, shared memory and spills of every kernel, as ptxas reports them.

    python tests/cuda_resources.py

writes cuda_resources.json, the table that test_cuda_build.py compares with. Do that when a kernel
changed on purpose, and look at the difference before committing it.
"""

import json
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("cuda_resources.json")
KERNELS = sorted((ROOT / "csrc/cuda").glob("*.cu"))
ARCHITECTURES = ("80", "90", "100")

# As CMakeLists.txt compiles them; warnings and spills are errors.
FLAGS = (
    *("-std=c++17", "-O3", "--expt-relaxed-constexpr", "--fmad=false"),
    *("-Werror=all-warnings", "-Xptxas=-warn-spills", "-Xptxas=-Werror", "--resource-usage"),
    *(f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc/include'}", "-cubin"),
)

Usage: TypeAlias = dict[str, dict[str, str]]  # kernel -> architecture -> "32 registers, 256 B"


def nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def nvcc_version() -> str:
    answer = subprocess.check_output([str(nvcc()), "--version"], text=True)
    return re.search(r"release ([\d.]+)", answer)[1]  # type: ignore[index]


def plain_names(symbols: list[str]) -> list[str]:
    """Mangled symbols -> "commit_kernel<long>"."""
    demangled = subprocess.check_output(["c++filt", *symbols], text=True).splitlines()
    names = []
    for text in demangled:
        text = re.sub(r"\(anonymous namespace\)|_GLOBAL__N__\w+|_INTERNAL_\w+", "_", text)
        found = re.search(r"(\w+(?:<.*>)?)\(", text)
        names.append(found[1] if found else text)
    return names


def compile_one(source: Path, architecture: str) -> Usage:
    """Compile for one architecture; an error says what nvcc said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(nvcc()), f"-arch=sm_{architecture}", *FLAGS, str(source)]
        answer = subprocess.run(
            [*command, "-o", f"{folder}/out.cubin"], capture_output=True, text=True, check=False
        )
    report = answer.stdout + answer.stderr
    if answer.returncode != 0:
        raise RuntimeError(f"{source.name} for sm_{architecture}:\n{report}")
    entries = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers([^\n]*)",
        report,
        re.S,
    )
    usage: Usage = {}
    names = plain_names([symbol for symbol, *_ in entries])
    for name, (_, stores, loads, registers, rest) in zip(names, entries, strict=True):
        shared = re.search(r"(\d+) bytes smem", rest)
        spilled = f", {stores} + {loads} B spilled" if stores != "0" or loads != "0" else ""
        usage[name] = {
            f"sm_{architecture}": f"{registers} registers, {shared[1] if shared else 0} B{spilled}"
        }
    return usage


def measure(source: Path) -> Usage:
    """What each kernel of this file uses on each architecture."""
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(lambda architecture: compile_one(source, architecture), ARCHITECTURES)
        usage: Usage = {}
        for part in parts:
            for kernel, numbers in part.items():
                usage.setdefault(kernel, {}).update(numbers)
    return dict(sorted(usage.items()))


def main() -> None:
    kernels = {source.stem: measure(source) for source in KERNELS}
    table = {"nvcc": nvcc_version(), "kernels": kernels}
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
