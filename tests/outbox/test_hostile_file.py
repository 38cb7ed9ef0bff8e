"""An outbox file with any content in its tables: intact for SQLite, but not written by this program."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.errors import ConfigError
from edge_app.messages import Message, decode
from edge_app.outbox import view
from edge_app.outbox.gap import Gap
from edge_app.outbox.sequence import SequenceNumbers, _checksum
from tests.outbox.boxes import MessageFactory, numbers, receive_all, until

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ("id", "seq", "kind", "utc", "monotonic_ns", "clock_synced")


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"utc": 5}')
def test_any_payload_is_a_message_or_rejected(payload):
    try:
        assert isinstance(decode(payload), Message)
    except ValueError as exc:
        assert len(str(exc)) < 200  # noqa: PT017  either outcome is right


@given(st.sampled_from(FIELDS), JSON)
def test_a_field_of_any_type_is_a_message_or_rejected(field, value):
    body = json.loads(MessageFactory().status()(5).payload)
    body[field] = value
    try:
        message = decode(json.dumps(body).encode())
    except ValueError:
        return
    assert isinstance(message.id, str)
    assert isinstance(message.seq, int)
    assert message.kind in ("result", "event", "status")


@given(JSON | st.dictionaries(st.sampled_from(["lost", "unknown", "reasons", "first", "last"]), JSON))
def test_any_gap_record_is_read_or_rejected(record):
    try:
        gap = Gap.from_json(record if isinstance(record, dict) else {})
    except ValueError:
        return
    gap.add("full", ["result"], "a", "b")
    assert gap.as_json()["lost"]["result"] >= 1


@given(st.binary(max_size=100))
@example(b"1" * 30)
@example(b"-5")
@example(b"abc")
def test_any_reservation_of_numbers_is_read_or_ignored(tmp_path_factory, number):
    path = tmp_path_factory.mktemp("numbers") / "sequence"
    for content in (number, number + b" " + _checksum(number) + b"\n"):
        path.write_bytes(content)
        assert 0 <= SequenceNumbers(path).next_number() < 1 << 53


GAP = json.dumps({"lost": {"event": 1}, "reasons": "x"})
PAYLOADS = [b"", b"\xff\xfe", b"[]", b"[" * 5000, b'{"utc":1}', b'{"id":{},"seq":"x"}']
ATTACKS = {
    "gap_of_another_type": ("INSERT OR REPLACE INTO gap VALUES (0, ?)", ["[1]"]),
    "gap_of_another_shape": ("INSERT OR REPLACE INTO gap VALUES (0, ?)", [GAP]),
    "gap_nested_deeply": ("INSERT OR REPLACE INTO gap VALUES (0, ?)", ["[" * 100_000]),
    "gap_with_options": ("INSERT OR REPLACE INTO gap VALUES (0, ?)", ['{"self": 1}']),
    "cursor_of_text": ("INSERT OR REPLACE INTO cursors VALUES ('a', ?)", ["x"]),
    "cursor_of_bytes": ("INSERT OR REPLACE INTO cursors VALUES ('a', ?)", [b"x"]),
    "cursor_of_a_blob_sink": ("INSERT OR REPLACE INTO cursors VALUES (?, 5)", [b"\xff"]),
    "crc_of_text": ("UPDATE messages SET crc = ?", ["x"]),
    "payload_of_text": ("UPDATE messages SET payload = ?", ["{}"]),
    "priority_of_text": ("UPDATE messages SET priority = ?", ["x"]),
    "priority_out_of_range": ("UPDATE messages SET priority = ?", [99]),
    "refused_of_text": ("INSERT INTO refused (sink, reason, payload) VALUES (1, 2, ?)", ["x"]),
    "refused_of_bytes": ("INSERT INTO refused (sink, reason, payload) VALUES (?, 2, '')", [b"\xff"]),
}


def damage(folder, query, values):
    with closing(sqlite3.connect(folder / "outbox.db", isolation_level=None)) as db:
        db.execute(query, values)


@pytest.mark.parametrize("attack", ATTACKS)
def test_any_value_in_a_table_stops_neither_the_outbox_nor_its_commands(attack, open_box, factory, tmp_path):
    check_survives(open_box, factory, tmp_path / "state", *ATTACKS[attack])


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_any_payload_in_the_file_stops_neither_the_outbox_nor_its_commands(payload, open_box, factory, tmp_path):
    query = "UPDATE messages SET payload = ?, crc = ? WHERE position % 2 = 0"
    check_survives(open_box, factory, tmp_path / "state", query, [payload, zlib.crc32(payload)])


def check_survives(open_box, factory, folder, query, values):
    box = open_box("a", "b", folder=folder)
    for n in range(60):
        box.put(factory.status(n=n))
    until(lambda: box.stats().stored == 60)
    box.close()
    damage(folder, query, values)
    again = open_box("a", "b", folder=folder)
    again.put(factory.status(n=999))
    for sink in ("a", "b"):
        got = numbers(receive_all(again, sink))
        assert 999 in got
        assert set(got) <= {*range(60), 999, None}
    for command in (view.stats, lambda path: list(view.messages(path)), lambda p: list(view.messages(p, refused=True))):
        try:
            command(folder)
        except ConfigError as exc:
            assert "\n" not in str(exc)  # noqa: PT017  either outcome is right
    again.close()
