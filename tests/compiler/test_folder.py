"""Replacing a model folder: which folders may be replaced, which files stay, and that a failure changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app import cli
from edge_app.compiler import folder
from edge_app.errors import ConfigError, ModelError
from edge_app.model import manifest
from tests.compiler.graphs import classifier, segmenter

HAND_WRITTEN = """format: 1
name: own
input: {width: 64, height: 64, resize: stretch}
heads: {own: {family: classify, graph: {onnx: a.onnx}}}
"""


def compile_(*arguments) -> int:
    return cli.main(["compile", *(str(a) for a in arguments)])


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.fixture
def own(tmp_path):
    """A model folder that was written by hand, with a README."""
    path = tmp_path / "own"
    path.mkdir()
    (path / "model.yaml").write_text(HAND_WRITTEN)
    (path / "README.md").write_text("notes")
    classifier(path / "a.onnx")
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    base = tmp_path_factory.mktemp("compiled")
    assert compile_(classifier(base / "a.onnx"), "--out", base / "m") == 0
    return base / "m"


def copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for name, data in contents(source).items():
        (target / name).write_bytes(data)
    return target


def test_rejects_a_folder_that_the_compiler_did_not_write(own, tmp_path, capsys):
    before = contents(tmp_path)
    assert compile_(own / "a.onnx", "--out", own) == 2
    assert compile_(own, "--out", own) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2
    assert all("own: its model.yaml was not written by edge-app compile; expected" in line for line in error)
    assert "--force" in error[0]
    assert contents(tmp_path) == before


def test_force_keeps_what_it_replaces(own, tmp_path, capsys):
    before = contents(own)
    assert compile_(own, "--out", own, "--force") == 0
    assert contents(tmp_path / "own.backup") == before
    assert (own / "README.md").read_text() == "notes"
    assert manifest.load(own).sha256
    folder.check_out(own)
    (own / "model.yaml").write_text(HAND_WRITTEN)
    assert compile_(tmp_path / "own.backup", "--out", own, "--force") == 0
    assert contents(tmp_path / "own.backup") == before
    assert "own.backup2" in os.listdir(tmp_path)
    assert "own.backup2" in capsys.readouterr().out


def test_force_keeps_no_backup_of_what_the_compiler_wrote(compiled, tmp_path):
    out = copy(compiled, tmp_path / "m")
    backup = folder.check_out(out, force=True)
    assert backup is None
    with folder.staged(out, backup) as staging:
        (staging / "model.yaml").write_text("new")
    assert os.listdir(tmp_path) == ["m"]
    assert (out / "model.yaml").read_text() == "new"


def test_rejects_a_manifest_that_was_edited(compiled, tmp_path):
    out = copy(compiled, tmp_path / "m")
    folder.check_out(out)
    text = (out / "model.yaml").read_text()
    (out / "model.yaml").write_text(text.replace("\n", "\r\n"))  # as git may check it out
    folder.check_out(out)
    (out / "model.yaml").write_text(text.replace("name: m", "name: n"))
    with pytest.raises(ConfigError, match=r"its model\.yaml was changed since edge-app compile wrote it"):
        folder.check_out(out)
    folder.check_out(out, force=True)


def test_rejects_a_graph_that_was_replaced(compiled, tmp_path):
    out = copy(compiled, tmp_path / "m")
    segmenter(out / "a.onnx")
    with pytest.raises(ConfigError, match=r"its a\.onnx was changed since edge-app compile wrote it"):
        folder.check_out(out)


def test_accepts_what_an_earlier_version_wrote(compiled, tmp_path):
    out = copy(compiled, tmp_path / "m")
    _, _, rest = (out / "model.yaml").read_text().partition("\n")
    (out / "model.yaml").write_text(f"# Written by edge-app compile.\n{rest}")
    folder.check_out(out)


@pytest.mark.parametrize("force", [False, True])
def test_never_replaces_a_folder_of_other_files_or_a_file(tmp_path, force):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"contains files but no model\.yaml"):
        folder.check_out(tmp_path / "docs", force=force)
    with pytest.raises(ConfigError, match="is a file"):
        folder.check_out(tmp_path / "docs" / "notes.txt", force=force)


def test_force_replaces_a_manifest_that_cannot_be_read(tmp_path):
    out = tmp_path / "m"
    out.mkdir()
    (out / "model.yaml").write_bytes(b"\xff\x00")
    with pytest.raises(ConfigError, match="was not written by edge-app compile"):
        folder.check_out(out)
    with folder.staged(out, folder.check_out(out, force=True)) as staging:
        (staging / "model.yaml").write_text("new")
    assert contents(tmp_path / "m.backup") == {"model.yaml": b"\xff\x00"}


def test_an_empty_folder_is_accepted(tmp_path):
    folder.check_out(tmp_path)
    folder.check_out(tmp_path / "absent" / "deeper")


def fail(out: Path, backup: Path | None = None) -> None:
    with folder.staged(out, backup) as staging:
        (staging / "half").write_text("x")
        raise RuntimeError


def test_a_failure_leaves_no_folder_above_the_output_either(tmp_path):
    with pytest.raises(RuntimeError):
        fail(tmp_path / "a" / "b" / "m")
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_what_force_would_replace(own, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(RuntimeError):
        fail(own, folder.check_out(own, force=True))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_cannot_be_renamed_into_place_changes_nothing(compiled, tmp_path, monkeypatch, force):
    out = copy(compiled, tmp_path / "m")
    if force:
        (out / "model.yaml").write_text(HAND_WRITTEN)
    backup = folder.check_out(out, force=force)
    before, rename = contents(tmp_path), Path.rename

    def failing(path, target):
        if target == out and (path / "half").exists():
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with (
        pytest.raises(ModelError, match="No space left on device; nothing was changed"),
        folder.staged(out, backup) as new,
    ):
        (new / "half").write_text("x")
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == ["m"]


def test_writes_nothing_without_a_backup_into_a_folder_of_others(own):
    with pytest.raises(ConfigError, match="was not written by"):
        fail(own)
