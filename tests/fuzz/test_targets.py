"""Every target on its corpus, on mutations of it and on arbitrary bytes. `run.py` does the same for longer."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import PROJECT
from tests.fuzz.targets import CORPUS, TARGETS, seeds

MAX_CPU_S = 1.0  # for one input
MAX_WAIT_S = 5.0  # in all, if the machine is busy
OPEN: dict[str, str] = {}  # faults that are not fixed yet, by target
LARGE_OPEN: dict[str, str] = {}
FRAGMENTS = (
    *(b"\0", b"\xff", b"\xff" * 8, b"\r\n", b"\r\n\r\n", b"\x1b[31m", b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xae"),
    *(b"-1", b"0", b"9" * 5000, b"1e999", b"NaN", b"-Infinity", b"0x7fffffff", b"99999999999999999999"),
    *(b"null", b"true", b"[]", b"{}", b'""', b"~", b"[" * 5000, b'{"a":' * 2000, b"- " * 500, b"a" * 300),
    *(b"&a", b"*a", b"!!python/object:os.system", b"${HOME}", b"../../etc/passwd", b"/dev/zero", b"rtsp://[::1/x"),
)


def check(name: str, data: bytes) -> None:
    """Run a target, and check how long it takes."""
    cpu_s, began_s = time.process_time(), time.monotonic()
    TARGETS[name](data)
    cpu_s, wait_s = time.process_time() - cpu_s, time.monotonic() - began_s
    assert cpu_s <= MAX_CPU_S, f"{cpu_s:.1f} s of computing for {data!r:.200}"
    assert wait_s <= MAX_WAIT_S, f"{wait_s:.1f} s for {data!r:.200}"


def unless_open(name: str, faults: dict[str, str] = OPEN) -> object:
    if name not in faults:
        return name
    return pytest.param(name, marks=pytest.mark.xfail(reason=faults[name], run=faults is OPEN))


@st.composite
def mutated(draw: st.DrawFn, entries: list[bytes]) -> bytes:
    """A corpus entry with one to four changes: a bit, an overwritten or inserted fragment, a cut, a repetition."""
    data = bytearray(draw(st.sampled_from(entries)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(1, 24))
        kind = draw(st.sampled_from(["bit", "overwrite", "insert", "cut", "repeat", "truncate"]))
        fragment = draw(st.sampled_from(FRAGMENTS) | st.binary(min_size=1, max_size=8))
        if kind == "bit" and at < len(data):
            data[at] ^= 1 << length % 8
        elif kind == "overwrite":
            data[at : at + length] = fragment
        elif kind == "insert":
            data[at:at] = fragment
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[max(0, at - length) : at] * draw(st.integers(1, 40))
        elif kind == "truncate":
            del data[at:]
    return bytes(data)


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", [unless_open(name) for name in TARGETS])
def test_accepts_the_corpus(name: str):
    for data in seeds(name):
        check(name, data)


@pytest.mark.parametrize("name", [unless_open(name) for name in TARGETS])
def test_survives_arbitrary_bytes(name: str):
    @settings(max_examples=30)
    @given(st.binary(max_size=300))
    def run(data: bytes) -> None:
        check(name, data)

    run()


@pytest.mark.parametrize("name", [unless_open(name) for name in TARGETS])
def test_survives_mutations_of_the_corpus(name: str):
    @settings(max_examples=60)
    @given(mutated(seeds(name)))
    def run(data: bytes) -> None:
        check(name, data)

    run()


LARGE = {
    "names": b"".join(b"k%d: 1\n" % i for i in range(20_000)),
    "one name": b"a: {b: 1}\n" * 20_000,
    "brackets": b"[" * 200_000,
    "lines of brackets": (b"[" * 1000 + b"\n") * 200,
    "digits": b"9" * 200_000,
    "zeros": bytes(200_000),
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 15_000,
    "control": b"\x1b" * 200_000,
}


@pytest.mark.parametrize("name", [unless_open(name, LARGE_OPEN) for name in TARGETS])
def test_a_large_input_takes_no_longer_than_a_small_one(name: str):
    for data in LARGE.values():
        check(name, data)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_nothing(name: str):
    """Ten minutes for each target, guided by coverage."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz.run", "--target", name, "--seconds", "600", "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)["targets"]
    print(report)
    assert (report["tracebacks"], report["hangs"], report["crashes"]) == ([], 0, 0)
    assert report["growth_mb"] <= 1
