"""A power cut at any moment: accepted messages are there, and no number is used twice.

SIGKILL is no power cut, because the system's cache survives it. So a publishing run is recorded, system call by system
call, and replayed onto files as a disk would have them: what was not synced is dropped, applied in part, or torn at a
512-byte sector; names that were not synced are missing. To show that this would notice, it is done again with the syncs
taken out of the recording, and must fail.
"""

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox
from tests.system.power_cut import SYNCS, Disk, record

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace"),
]

IGNORED = ("-shm", ".lock")  # SQLite recreates its shared memory


def problems(folder, marks):
    """Open what the cut left, as the next start does. Returns the broken promises."""
    used = [int(seq) for kind, *rest in marks if kind == "put" for seq in rest[1:]]
    kept = max((int(rest[0]) for kind, *rest in marks if kind == "kept"), default=-1)
    delivered = max((int(rest[0]) for kind, *rest in marks if kind == "delivered"), default=-1)
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})
    fresh = []

    def status(seq):
        fresh.append(seq)
        return encoder.status(seq, Stamp(0, 0, True), {"n": -2})

    box = Outbox(folder, ["a", "b"], Limits(max_mb=2), clock, lambda seq, tally: status(seq))
    found = {}
    for sink in ("a", "b"):
        while items := box.next_batch(sink, 500, 0.0):
            for item in items:
                found.setdefault(int(item.message.payload.split(b'"n":')[1].split(b",")[0].rstrip(b"}")), item.message)
            box.acknowledge(sink, items[-1].position, len(items))
    box.put(status)
    box.close()
    told = []
    if (folder / "outbox.db.broken").exists():
        told.append("the file was taken for damaged")
    missing = set(range(delivered + 1, kept + 1)) - found.keys()
    if missing:
        told.append(f"{len(missing)} accepted messages are missing, {min(missing)} to {max(missing)}")
    if set(fresh) & set(used):
        told.append("a number is used again")
    if any(len(m.payload) < 100 for m in found.values()):
        told.append("a message is not whole")
    return told


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    script = Path(__file__).with_name("publishing_run.py")
    command = [sys.executable, script, folder / "state", folder / "marks"]
    return folder / "state", folder / "marks", record(folder / "trace", command)


def cuts(recording, tmp, without_syncs=False):
    """Replay the recording; cut after every sync and at 200 random moments. Yields lists of problems."""
    state, marks, calls = recording
    rng = random.Random(6)
    moments = set(rng.sample(range(len(calls)), 200))
    disk = Disk(state, ignore=IGNORED)
    for n, call in enumerate(calls):
        sync = call.name in SYNCS
        before_sync = sync and not without_syncs
        modes = [rng.choice(["torn", "part", "written"])] if n in moments else []
        if before_sync:
            modes = ["dropped", "torn"]
        if not (sync and without_syncs):
            disk.apply(call, marks)
        elif n in moments or rng.random() < 0.1:
            modes = ["dropped"]
        for mode in modes:
            folder = tmp / f"cut-{n}-{mode}"
            disk.cut(folder, rng, mode)
            yield n, mode, problems(folder, disk.marks)
            shutil.rmtree(folder)


def test_no_accepted_message_is_lost_by_a_cut_at_any_moment(recording, tmp_path):
    wrong, points = [], 0
    for n, mode, told in cuts(recording, tmp_path):
        points += 1
        if told:
            wrong.append((n, mode, told))
    syncs = sum(call.name in SYNCS for call in recording[2])
    print(f"{len(recording[2])} calls, {syncs} syncs, {points} cuts")
    assert points >= 2 * syncs + 150
    assert wrong == []


def test_the_same_recording_without_syncs_fails(recording, tmp_path):
    assert any(told for _, _, told in cuts(recording, tmp_path, without_syncs=True))


def test_the_recording_is_complete(recording, tmp_path):
    """Replaying all writes gives the files that the run left, byte for byte."""
    state, marks, calls = recording
    disk = Disk(state, ignore=IGNORED)
    for call in calls:
        disk.apply(call, marks)
    disk.cut(tmp_path / "end", random.Random(1), "written")
    for name in ("outbox.db", "sequence"):
        assert (tmp_path / "end" / name).read_bytes() == (state / name).read_bytes()
    assert sum(kind == "put" for kind, *_ in disk.marks) == 1680
    assert os.path.exists(state / "outbox.db")
