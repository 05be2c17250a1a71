"""pip's door to CMakeLists.txt, where the build is described. Switches, all optional:

UNMASK_TORCH=0       no torch operators: unmask._C on numpy arrays only
UNMASK_TORCH_ROOT    the torch package to build against; default: the one this Python would import
UNMASK_CUDA          AUTO (default), ON or OFF
UNMASK_CUDA_ARCHS    e.g. "80;90"; default: third_party/cuda.cmake
UNMASK_BUILD_TYPE    Release (default), RelWithDebInfo or Debug
CMAKE_ARGS           more arguments for cmake
MAX_JOBS             parallel compilations; default: one per core
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()

NO_TORCH = f"""
unmask: no torch found for {sys.executable}.
  Install torch first (the build your machine needs), then: pip install --no-build-isolation .
  Or build for numpy arrays only:                            UNMASK_TORCH=0 pip install .
"""

NO_TOOL = """
unmask: {} is missing. Install what builds the package, then try again:
  pip install "cmake>=3.24" ninja "pybind11>=2.13"
"""

ISOLATED_EDITABLE = """
unmask: an editable install needs this environment's own cmake, ninja and pybind11:
  pip install --no-build-isolation -e .
"""


def find_torch() -> Path | None:
    """The torch to build against, without importing it and without ever downloading one.

    pip's build isolation hides site-packages from sys.path, but the folder is still there.
    """
    if root := os.environ.get("UNMASK_TORCH_ROOT"):
        return Path(root)
    if (spec := importlib.util.find_spec("torch")) and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    for scheme in ("purelib", "platlib"):
        candidate = Path(sysconfig.get_paths()[scheme]) / "torch"
        if (candidate / "version.py").exists():
            return candidate
    return None


def find_tool(name: str) -> str | None:
    """On PATH, or where pip put it: beside a Python whose environment is not activated."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def pybind11_dir() -> str:
    asked = [sys.executable, "-m", "pybind11", "--cmakedir"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    return answer.stdout.strip() or sys.exit(NO_TOOL.format("pybind11"))


class CMakeBuild(build_ext):
    def run(self) -> None:
        options = self.options()
        cmake = find_tool("cmake") or sys.exit(NO_TOOL.format("cmake"))
        target = Path(self.get_ext_fullpath("unmask._C")).parent.resolve()
        build = ROOT / "build" / f"{'editable' if self.inplace else 'wheel'}-{environment_tag()}"
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
        subprocess.check_call([cmake, "-S", ROOT, "-B", build, *options])
        subprocess.check_call([cmake, "--build", build, "--parallel", jobs])
        if not self.inplace:
            install = [cmake, "--install", build, "--component", "python", "--strip"]
            subprocess.check_call([*install, "--prefix", target])

    def options(self) -> list[str]:
        if self.inplace and any("pip-build-env" in path for path in sys.path):
            sys.exit(ISOLATED_EDITABLE)
        torch = find_torch() if os.environ.get("UNMASK_TORCH") != "0" else None
        if torch is None and os.environ.get("UNMASK_TORCH") != "0":
            sys.exit(NO_TORCH)
        options = [
            f"-DCMAKE_BUILD_TYPE={os.environ.get('UNMASK_BUILD_TYPE') or 'Release'}",
            f"-DPython_EXECUTABLE={sys.executable}",
            "-DUNMASK_PYTHON=ON",
            f"-DUNMASK_TORCH={'ON' if torch else 'OFF'}",
            f"-DUNMASK_TORCH_ROOT={torch or ''}",
            f"-DUNMASK_INPLACE={'ON' if self.inplace else 'OFF'}",
            f"-DUNMASK_CUDA={os.environ.get('UNMASK_CUDA') or 'AUTO'}",
            # Said every time, as is ninja: an isolated build finds them in a new folder each run.
            f"-Dpybind11_DIR={pybind11_dir()}",
        ]
        if ninja := find_tool("ninja"):
            options += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        if archs := os.environ.get("UNMASK_CUDA_ARCHS"):
            options.append(f"-DCMAKE_CUDA_ARCHITECTURES={archs}")
        return options + os.environ.get("CMAKE_ARGS", "").split()


def environment_tag() -> str:
    """One build folder per Python and environment that share this checkout."""
    return f"{sys.implementation.cache_tag}-{hashlib.sha1(sys.prefix.encode()).hexdigest()[:8]}"


# A wheel is collected in an empty folder: setuptools' own would keep files of earlier builds.
with tempfile.TemporaryDirectory(prefix="unmask-") as scratch:
    setup(
        ext_modules=[Extension("unmask._C", sources=[])],
        cmdclass={"build_ext": CMakeBuild},
        options={"build": {"build_base": scratch}},
    )
