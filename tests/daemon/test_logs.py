"""Log output: three formats, the rate limit, masked passwords."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import struct
from pathlib import Path

import pytest

from edge_app.daemon import logs


@pytest.fixture(autouse=True)
def _root_logger():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def test_formats_text_and_json_lines():
    text, objects = io.StringIO(), io.StringIO()
    logs.configure("text", text, {})
    logging.getLogger("a").warning("lost %d", 3)
    logs.configure("json", objects, {})
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("b").exception("broken")
    assert text.getvalue() == "WARNING a: lost 3\n"
    entry = json.loads(objects.getvalue())
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "b", "broken")
    assert "ValueError: why" in entry["traceback"]
    assert entry["utc"].endswith("+00:00")


def test_sends_native_entries_to_journald(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        logs.configure("journal", io.StringIO(), {}, tmp_path / "journal")
        logging.getLogger("edge_app.x").error("two\nlines")
        entry = journal.recv(65536)
        assert entry.startswith(b"MESSAGE\n" + struct.pack("<Q", 9) + b"two\nlines\nPRIORITY=3\n")
        assert b"LOGGER=edge_app.x\n" in entry
        assert b"\nCODE_LINE=" in entry


def test_auto_selects_the_journal_if_the_stream_leads_to_it(tmp_path: Path):
    with (tmp_path / "out").open("w") as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        logs.configure("auto", stream, environ, tmp_path / "journal")
        logging.getLogger("x").info("native")
        assert journal.recv(999).startswith(b"MESSAGE=native\n")
        logs.configure("auto", stream, {}, tmp_path / "journal")
        logging.getLogger("x").info("plain")
    assert (tmp_path / "out").read_text() == "INFO x: plain\n"


def test_the_rate_limit_drops_and_counts_messages():
    now_s = 0.0
    limit = logs.RateLimit(lambda: now_s)
    record = logging.makeLogRecord({"pathname": "x.py", "lineno": 1, "msg": "again"})
    other = logging.makeLogRecord({"pathname": "x.py", "lineno": 2, "msg": "else"})
    assert [bool(limit.filter(record)) for _ in range(8)] == [True] * 5 + [False] * 3
    assert limit.filter(other)
    now_s = 61.0
    assert limit.filter(record)
    assert record.getMessage() == "again (3 similar messages dropped)"


@pytest.mark.parametrize("form", ["text", "json"])
def test_masks_passwords_in_urls(form: logs.LogFormat):
    stream = io.StringIO()
    logs.configure(form, stream, {})
    logging.getLogger("x").error("cannot open %s", "rtsp://user:hunter2@cam/1")
    assert "hunter2" not in stream.getvalue()
    assert "@cam/1" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_replaces_control_characters_and_surrogates(form: logs.LogFormat):
    stream = io.StringIO()
    logs.configure(form, stream, {})
    logging.getLogger("x").error("from a peer: %s", "\x1b[31m\x9b\udcff\0\rend")
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "?[31m????end" in line


def test_a_text_message_cannot_imitate_another_one():
    stream = io.StringIO()
    logs.configure("text", stream, {})
    logging.getLogger("x").error("from a peer: %s", "a\nERROR edge_app: camera stolen")
    assert stream.getvalue() == "ERROR x: from a peer: a\n  ERROR edge_app: camera stolen\n"
