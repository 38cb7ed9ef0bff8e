"""The parser of commands: what it reads, and that no payload breaks it."""

from __future__ import annotations

import json
import random

import pytest

from edge_app.commands import Command, CommandError, parse
from edge_app.commands.parsing import MAX_PAYLOAD_BYTES, TABLE, id_of


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("rules/plaza", b"OFF", Command("rules/*", "plaza", False)),
        ("heads/digits", b" on\n", Command("heads/*", "digits", True)),
        ("heads/digits/score", b"0.35", Command("heads/*/score", "digits", 0.35)),
        ("reuse", b'{"value": true}', Command("reuse", "", True)),
        ("precision", b"int8", Command("precision", "", "int8")),
        ("mute", b'{"value": 5, "id": "7"}', Command("mute", "", 5.0, "7")),
        ("snapshot", b"PRESS", Command("snapshot")),
        ("restart", b"", Command("restart")),
        ("rules/a b", b'{"value": "ON", "id": 12, "persist": true}', Command("rules/*", "a b", True, "12", True)),
    ],
)
def test_reads_text_and_json(name: str, payload: bytes, expected: Command):
    assert parse(name, payload) == expected
    assert parse(name, payload).name == name


@pytest.mark.parametrize(
    ("name", "payload", "problem"),
    [
        ("nothing", b"ON", "found no command 'nothing'; expected one of: heads/"),
        ("rules/", b"ON", "found no command"),
        ("rules/a/b", b"ON", "found no command"),
        ("rules/x", b"maybe", "rules/x: found 'maybe'; expected ON or OFF"),
        ("rules/x", b"", "rules/x: found nothing; expected ON or OFF"),
        ("heads/x/score", b"1.5", "heads/x/score: found '1.5'; expected a number 0 to 1"),
        ("heads/x/score", b"nan", "expected a number 0 to 1"),
        ("heads/x/score", b'{"value": 1e999}', "expected a number 0 to 1"),
        ("heads/x/score", b'{"value": NaN}', "damaged JSON object"),
        ("mute", b"-1", "mute: found '-1'; expected a number 0 to 1440"),
        ("precision", b"double", "expected float or int8 or auto"),
        ("snapshot", b"now", "expected no value"),
        ("rules/x", b"\xff", "rules/x: found bytes that are not UTF-8"),
        ("rules/x", b'{"value": "ON", "qos": 1}', "rules/x: found the field 'qos'; expected value, id, persist"),
        ("rules/x", b'{"value": "ON", "persist": 1}', "found another persist"),
        ("rules/x", b'{"value": "ON", "id": [1]}', "found another id"),
        ("snapshot", b'{"persist": true}', "snapshot: found persist; expected it only with"),
        ("rules/x", b"1" * (MAX_PAYLOAD_BYTES + 1), "found 1025 bytes; expected at most 1024"),
        ("rules/" + "x" * 300, b"ON", "found no command"),
        ("rules/x", b'{"a":' * 200, "damaged JSON object"),
        ("rules/x", b"{" + b"[" * 1000, "damaged JSON object"),
    ],
)
def test_rejects_in_one_line(name: str, payload: bytes, problem: str):
    with pytest.raises(CommandError) as error:
        parse(name, payload)
    assert problem in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 400


def test_a_rejected_payload_still_names_its_id():
    assert id_of(b'{"id": "7", "value": "perhaps"}') == "7"
    assert (id_of(b"ON"), id_of(b"{"), id_of(b'{"id": {}}'), id_of(b"\xff")) == ("", "", "", "")


SEEDS = (
    *(b"ON", b"OFF", b"0.5", b"int8", b"", b"{}", b'{"value": "ON", "id": "1", "persist": true}', b"[" * 500),
    *(b"\0", b"\xff\xfe", b"1e999", b"9" * 400, b'{"value":' * 90, b"\xed\xa0\x80", "\u202e".encode(), b'"\\ud800"'),
)


def test_ten_thousand_random_payloads_are_read_or_rejected():
    """Seeded. `python -m tests.fuzz.run --target command` does it for longer."""
    rng = random.Random(17)
    names = [*TABLE, "rules/plaza", "heads/digits", "heads/digits/score", "x", ""]
    accepted, problems = 0, []
    for _ in range(10_000):
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
        name = rng.choice(names) + rng.choice(["", "", "", "/", "\0", "é"])
        try:
            command = parse(name, bytes(data))
        except CommandError as exc:
            problems.append(str(exc))
        else:
            accepted += 1
            assert command.name == name
            assert command.value is None or isinstance(command.value, (bool, float, str))
            json.dumps(command.value, allow_nan=False)
    assert 200 < accepted < 9_000
    assert all(problem.isprintable() for problem in problems)
