"""The wheel on its own: in an empty virtual environment and an empty folder, for every Python that is found.

Downloads the libraries from PyPI; pip's cache keeps them. Debian packages: python3-venv.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

BUILT_FROM = (
    "edge_app",
    "models/digits",
    "config.yaml",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)
# 3.11 is Debian 12's, 3.13 Debian 13's.
VERSIONS = ("3.11", "3.13", *(pytest.param(v, marks=pytest.mark.long) for v in ("3.10", "3.12")))


@functools.cache
def interpreter(version: str) -> str | None:
    """A Python of this version that can make virtual environments: on PATH or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
    probe = f"import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for path in filter(None, candidates):
        if subprocess.run([path, "-c", probe], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build leaves files in its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in BUILT_FROM:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(PROJECT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", source, "--no-deps", "-w", folder]
    subprocess.run(command, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`edge-app` in an empty virtual environment of the parametrized Python."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"needs Python {request.param} with ensurepip")
    folder = tmp_path_factory.mktemp("installed")
    wheels, venv = folder / "wheels", folder / "venv"
    subprocess.run([python, "-m", "pip", "download", "-q", "-d", wheels, wheel], check=True, timeout=600)
    began = time.monotonic()
    subprocess.run([python, "-m", "venv", venv], check=True)
    install = [venv / "bin/pip", "install", "-q", "--no-index", "--find-links", wheels, "edge-app"]
    subprocess.run(install, check=True, timeout=600)
    print(f"\nPython {request.param}: installed in {time.monotonic() - began:.1f} s")
    return venv / "bin/edge-app"


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(cwd.parent)}  # libraries write caches there
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_wheel_has_what_the_repository_has_once(wheel: Path):
    """Every file of the demo once; in the repository, the package has no copy."""
    names = zipfile.ZipFile(wheel).namelist()
    model = {p.name for p in (PROJECT / "models/digits").iterdir()} - {"README.md", "sample.png", "sample.truth.jsonl"}
    assert {f"edge_app/demo/models/digits/{name}" for name in model} | {"edge_app/demo/config.yaml"} == {
        name for name in names if name.startswith("edge_app/demo/")
    }
    assert {"edge_app/messages.schema.json", "edge_app/config/config.schema.json", "edge_app/boards/boards.yaml"} <= {
        *names
    }
    assert "edge_app/web/static/index.html" in names
    assert not (PROJECT / "edge_app/demo").exists()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("program", VERSIONS, indirect=True)
def test_init_and_run_give_results(program: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    began = time.monotonic()
    run(program, "init", "x", cwd=empty)
    done = run(program, "run", "--max-frames", 2, cwd=empty / "x")
    print(f"init and run: {time.monotonic() - began:.1f} s")
    first = json.loads(done.stdout.splitlines()[0])
    assert first["heads"]["digits"]["detections"]
    assert "FAIL" not in run(program, "check", cwd=empty / "x").stdout


@pytest.mark.parametrize("program", ["3.11"], indirect=True)
def test_every_command_works_from_an_empty_folder(program: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    python = program.with_name("python")
    version = run(program, "--version", cwd=empty).stdout
    assert run(python, "-m", "edge_app", "--version", cwd=empty).stdout == version
    assert version.startswith("edge-app ")
    for arguments in (["check"], ["doctor"], ["schema"], ["options"], ["options", "--json-schema"]):
        assert run(program, *arguments, cwd=empty).stdout
    assert list(empty.iterdir()) == []
    clip = PROJECT / "models/digits/sample.mp4"
    ours = [sys.executable, "-m", "edge_app", "replay", clip, "--max-frames", "3"]
    expected = subprocess.run(ours, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert run(program, "replay", clip, "--max-frames", 3, cwd=empty).stdout.count("\n") == expected.count("\n")
    done = run(program, "run", "--max-frames", 2, cwd=empty)
    assert "using the demo's" in done.stderr
    assert (empty / "state").is_dir()
