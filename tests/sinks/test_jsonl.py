"""JSON lines: only complete lines, whatever happens to the disk or the reader."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.errors import SinkError
from edge_app.sinks.jsonl import Sink


def lines(path):
    text = path.read_bytes()
    assert not text or text.endswith(b"\n")
    return [json.loads(line)["seq"] for line in text.splitlines()]


def test_appends_complete_lines(tmp_path, context, message):
    path = tmp_path / "out.jsonl"
    sink = Sink(context, path=path)
    assert sink.send([message(1), message(2)]) == ["cam-1-1", "cam-1-2"]
    assert lines(path) == [1, 2], "written at once"
    sink.close()
    sink.close()
    Sink(context, path=path).send([message(3)])
    assert lines(path) == [1, 2, 3]


def test_append_false_truncates_the_file(tmp_path, context, message):
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    Sink(context, path=path, append=False).send([message(1)])
    assert lines(path) == [1]


@pytest.mark.parametrize("left", [b'{"seq": 9', b"x" * 200_000])
def test_removes_an_incomplete_line(tmp_path, context, message, left):
    path = tmp_path / "out.jsonl"
    Sink(context, path=path).send([message(1)])
    with path.open("ab") as file:
        file.write(left)
    Sink(context, path=path).send([message(2)])
    assert lines(path) == [1, 2]


def test_a_file_with_only_an_incomplete_line_becomes_empty(tmp_path, context):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"half")
    Sink(context, path=path)
    assert path.read_bytes() == b""


def test_rotates_by_size_and_keeps_two_files(tmp_path, context, message):
    path = tmp_path / "out.jsonl"
    sink = Sink(context, path=path, max_mb=0.01, keep=2)
    for seq in range(100):
        sink.send([message(seq, size=300)])
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["out.jsonl", "out.jsonl.1", "out.jsonl.2"]
    assert all(p.stat().st_size <= 10_000 for p in tmp_path.iterdir())
    kept = [seq for name in reversed(names) for seq in lines(tmp_path / name)]
    assert kept == list(range(kept[0], 100))


@pytest.mark.parametrize("path", ["none/out.jsonl", ".", "fifo", "zero", "socket"])
def test_an_unwritable_path_is_one_clear_line(tmp_path, context, path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
    expected = r"cannot be written: (No such file|Is a directory|Is a (named pipe|device|socket), not a regular file)"
    with pytest.raises(SinkError, match=expected) as error:
        Sink(context, path=tmp_path / path)
    assert str(tmp_path / path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_full_disk_leaves_no_incomplete_line(tmp_path, context, message):
    """A file size limit makes `write` return short and then fail, as a full disk does."""
    path = tmp_path / "out.jsonl"
    program = """
import resource, signal, sys
from pathlib import Path
from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.sinks import SinkContext
from edge_app.sinks.jsonl import Sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clock = SystemClock()
encoder = Encoder("cam-1", clock.boot_id, {})
messages = [encoder.status(n, Stamp(n, n, True), {"pad": "x" * 300}) for n in range(9)]
sink = Sink(SinkContext("cam-1", "sink", clock), path=Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
sent = 0
try:
    for message in messages:
        sink.send([message]); sent += 1
except SinkError as exc:
    print(sent, exc.retry, exc)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.send(messages[sent:])
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["3", "True"]
    assert "File too large" in done.stdout
    assert lines(path) == list(range(9)), "continues when there is room"


def test_writes_to_standard_output_at_once(context, message, capfd):
    Sink(context).send([message(1), message(2)])
    out = capfd.readouterr().out
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2]


def test_a_closed_pipe_raises_broken_pipe(context, message):
    reader, writer = os.pipe()
    saved = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        sink = Sink(context)
        sink.send([message(1)])
        assert os.read(reader, 1000).endswith(b"\n")
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            sink.send([message(2)])
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def test_dev_null_is_allowed(context, message):
    sink = Sink(context, path=Path("/dev/null"))
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()
