"""`edge-app status` finds the daemon whatever the configuration on disk says by now."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.cli import main
from edge_app.daemon import discovery
from edge_app.daemon.status_socket import FILE, StatusSocket

GOOD = "device: {id: cam, state_dir: state}\n"


@contextmanager
def daemon(folder: Path, pid: int = 7) -> Iterator[Path]:
    """A daemon that was started with `folder`/config.yaml. Yields that path."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(GOOD, encoding="utf-8")
    running = StatusSocket(folder / "state", lambda: {"pid": pid, "config": str(path)})
    try:
        yield path
    finally:
        running.close()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (GOOD + "source: {type: nonsense\n", ":3: not valid YAML"),
        ("device: {id: cam, state_dir: elsewhere}\n", "elsewhere/control.sock: no daemon answers"),
        ("device: {id: cam, color: red}\n", "config.yaml:1: device: unknown option 'color'"),
        (None, "config.yaml: cannot be read: No such file or directory"),
    ],
)
def test_answers_from_the_daemon_although_the_file_was_damaged_changed_or_removed(tmp_path: Path, capsys, text, note):
    with daemon(tmp_path) as path:
        if text is None:
            path.unlink()
        else:
            path.write_text(text, encoding="utf-8")
        assert main(["status", "--json", "-c", str(path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pid"] == 7
    assert note in err
    assert err.endswith(f"; shown is process 7, started with {path}\n")
    assert err.count("\n") == 1


def test_a_whole_file_has_no_note(tmp_path: Path, capsys):
    with daemon(tmp_path) as path:
        assert main(["status", "-c", str(path)]) == 0
    assert capsys.readouterr() == (f"pid     7\nconfig  {path}\n", "")


def test_the_daemon_of_another_configuration_does_not_answer(tmp_path: Path, capsys):
    with daemon(tmp_path / "one"):
        other = tmp_path / "other.yaml"
        other.write_text("device: [\n", encoding="utf-8")
        assert main(["status", "-c", str(other)]) == 2
    assert capsys.readouterr().err.startswith(f"{other}:2: not valid YAML")


def test_in_any_other_folder_the_only_daemon_answers(tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with daemon(tmp_path / "one", 1) as one:
        ours = [state for state in discovery.running() if str(state["config"]).startswith(str(tmp_path))]
        monkeypatch.setattr(discovery, "running", lambda: iter(ours))
        assert main(["status", "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["pid"] == 1
        assert err.endswith(f"; shown is process 1, started with {one}\n")
        monkeypatch.setattr(discovery, "running", lambda: iter(ours * 2))
        assert main(["status"]) == 2
        assert f"found 2 running daemons; expected --config FILE, one of: {one}, {one}" in capsys.readouterr().err
        monkeypatch.setattr(discovery, "running", lambda: iter(()))
        assert main(["status"]) == 2
        assert "config.yaml: found none in this folder" in capsys.readouterr().err


def test_a_socket_of_the_same_name_that_gives_no_status_is_passed_over(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as foreign, daemon(tmp_path / "one") as one:
        foreign.bind(str(tmp_path / FILE))  # listens, and never answers
        foreign.listen()
        foreign.shutdown(socket.SHUT_RDWR)
        state = discovery.status_of(one)
    assert state is not None
    assert state["pid"] == 7


def test_a_system_without_the_list_of_sockets_has_no_daemons(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(discovery, "_SOCKETS", tmp_path / "none")
    assert list(discovery.running()) == []
