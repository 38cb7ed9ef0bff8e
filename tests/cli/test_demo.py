"""The demo: what `edge-app init` writes, and that it never replaces a file."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.cli import demo, main
from tests.conftest import PROJECT


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_init_writes_a_folder_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "a camera"
    assert main(["init", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: wrote config.yaml, config.schema.json, models/digits",
        f"next: cd '{folder}' && edge-app run",
    ]
    command = [sys.executable, "-m", "edge_app", "run", "--max-frames", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["schema"] == "edge-app/1"
    assert (folder / "state").is_dir()


def test_the_configuration_names_the_schema_that_lies_beside_it(tmp_path: Path):
    assert main(["init", str(tmp_path)]) == 0
    first = (tmp_path / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=config.schema.json"
    assert json.loads((tmp_path / "config.schema.json").read_text(encoding="utf-8"))["$schema"]


def test_the_model_has_every_file_that_its_manifest_lists(tmp_path: Path):
    assert main(["init", str(tmp_path)]) == 0
    model = tmp_path / "models/digits"
    listed = re.findall(r"[\w.]+\.(?:onnx|rknn)", (model / "model.yaml").read_text(encoding="utf-8"))
    assert listed
    assert [name for name in listed if not (model / name).is_file()] == []
    assert not (model / "sample.png").exists()


@pytest.mark.parametrize("name", ["config.yaml", "config.schema.json", "models/digits"])
def test_init_replaces_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine\n", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path / name}: found one; expected none: init replaces no file\n"
    assert files(tmp_path) == {name: b"mine\n"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'file'}: cannot be written: Not a directory")


def test_what_could_not_be_written_as_a_whole_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    write_text = Path.write_text

    def fill_the_disk(path: Path, *arguments: str, **options: str) -> int:
        if path.name == "config.yaml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    assert main(["init", str(tmp_path)]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert files(tmp_path) == {}


def test_a_release_without_the_demo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "lib/edge_app/cli/demo.py"))
    assert main(["init", str(tmp_path / "x")]) == 2
    assert "found no demo in this installation; expected the full package" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_file_of_the_working_directory_goes_before_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert demo.file(demo.MODEL) == PROJECT / "models/digits"
    (tmp_path / "models/digits").mkdir(parents=True)
    assert demo.file(demo.MODEL) == Path("models/digits")
