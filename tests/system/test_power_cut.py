"""A power cut at any moment: what was accepted is there, and no number is used again.

SIGKILL is no power cut, because the system's cache survives it. So a publishing run is recorded, system call by system
call, and replayed onto files as a disk would have them: what was not synced is dropped, applied in part, or torn at a
512-byte sector; names that were not synced are missing. To show that this would notice, it is done again with the syncs
taken out of the recording, and must fail.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_app.clock import SystemClock
from edge_app.config import Outbox as Limits
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace"),
]

SECTOR = 512
CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,rename,mkdir"
LINE = re.compile(r"(\d+) (?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")


@dataclass
class Call:
    name: str
    arguments: str
    result: str


def record(folder, marks):
    """The system calls of one publishing run, in the order in which they returned."""
    trace = folder.parent / "trace"
    script = Path(__file__).with_name("publishing_run.py")
    command = ["strace", "-f", "-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", trace]
    subprocess.run([*command, sys.executable, script, folder, marks], check=True, timeout=240)
    started, calls = {}, []
    for line in trace.read_text().splitlines():
        if not (found := LINE.match(line)):
            continue
        process, name, arguments, resumed, rest = found.groups()
        if resumed:
            name, arguments = started.pop(process)
            arguments += rest
        elif arguments.endswith("<unfinished ...>"):
            started[process] = (name, arguments.removesuffix("<unfinished ...>"))
            continue
        arguments, _, result = arguments.rpartition(" = ")
        if not result.startswith("-1"):
            calls.append(Call(name, arguments.rstrip().removesuffix(")"), result))
    return calls


@dataclass
class Inode:
    synced: bytes = b""
    pending: list = field(default_factory=list)  # (offset, data), or (size, None) to truncate

    def content(self, chosen):
        data = bytearray(self.synced)
        for at, piece in chosen:
            if piece is None:
                data[at:] = b"\0" * max(0, at - len(data))
            else:
                data.extend(b"\0" * max(0, at - len(data)))
                data[at : at + len(piece)] = piece
        return bytes(data)


class Disk:
    """The files of one folder as a disk has them, with what is not on it yet."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.live, self.synced_names, self.pending_names = {}, {}, []
        self.marks = []

    def apply(self, call, marks):
        """Take one call into account. Returns whether it was a sync of ours."""
        if call.name in ("write", "pwrite64"):
            return self._write(call, marks)
        text = _unhex(call.arguments)
        if call.name in ("fsync", "fdatasync"):
            return self._sync(re.search(r"<(.*)>", text)[1])
        if call.name == "openat":
            self._open(_unhex(re.search(r"<(.*)>", call.result)[1]), text)
        elif call.name == "ftruncate":
            path, size = re.match(r"\d+<(.*)>, (\d+)", text).groups()
            if inode := self.live.get(self._name(path)):
                inode.pending.append((int(size), None))
        elif call.name in ("rename", "unlink"):
            names = [self._name(path) for path in re.findall(r'"([^"]*)"', text)]
            if names[0] in self.live:
                self._rename(names)
        return False

    def _name(self, path):
        folder, _, name = path.rpartition("/")
        return name if folder == self.folder and not name.endswith(("-shm", ".lock")) else None

    def _open(self, path, text):
        name = self._name(path)
        if name is None or "O_DIRECTORY" in text:
            return
        if name not in self.live and "O_CREAT" in text:
            self._rename([None, name], Inode())
        elif "O_TRUNC" in text:
            self.live[name].pending.append((0, None))

    def _rename(self, names, inode=None):
        change = (names[0], names[1] if len(names) > 1 else None, inode or self.live.get(names[0]))
        _change(self.live, change)
        self.pending_names.append(change)

    def _write(self, call, marks):
        fd_path, data, rest = re.match(r'\d+<([^>]*)>, "([^"]*)"(.*)', call.arguments).groups()
        path, data = _unhex(fd_path), bytes.fromhex(data.replace("\\x", ""))
        if path == str(marks):
            self.marks.append(data.decode().split())
        elif inode := self.live.get(self._name(path)):
            numbers = [int(n) for n in re.findall(r"\d+", rest)]
            offset = numbers[1] if call.name == "pwrite64" else sum(len(p or b"") for _, p in inode.pending)
            inode.pending.append((offset, data))
        return False

    def _sync(self, path):
        if path == self.folder:
            self.synced_names, self.pending_names = dict(self.live), []
            return True
        if inode := self.live.get(self._name(path)):
            inode.synced, inode.pending = inode.content(inode.pending), []
            return True
        return False

    def cut(self, folder, rng, mode):
        """Lay out what a power cut now would leave."""
        names = dict(self.synced_names)
        kept = {"dropped": 0, "written": len(self.pending_names)}.get(mode, rng.randint(0, len(self.pending_names)))
        for change in self.pending_names[:kept]:
            _change(names, change)
        folder.mkdir()
        for name, inode in names.items():
            chosen = {"dropped": [], "written": inode.pending}.get(mode)
            if chosen is None:
                chosen = [op for op in inode.pending if rng.random() < 0.5]
            if mode == "torn":
                chosen = [piece for op in chosen for piece in _torn(op, rng)]
            (folder / name).write_bytes(inode.content(chosen))


def _unhex(text):
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda m: bytes.fromhex(m[0].replace("\\x", "")).decode(), text)


def _change(names, change):
    old, new, inode = change
    if old is not None:
        names.pop(old, None)
    if new is not None:
        names[new] = inode


def _torn(op, rng):
    at, data = op
    if data is None:
        return [op]
    cuts = range(SECTOR - at % SECTOR, len(data), SECTOR)
    pieces = [(at + a, data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)])]
    return [piece for piece in pieces if rng.random() < 0.5]


def problems(folder, marks):
    """Open what the cut left, as the next start does. Returns what is missing of what was promised."""
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
        while items := box.take(sink, 500, 0.0):
            for item in items:
                found.setdefault(int(item.message.payload.split(b'"n":')[1].split(b",")[0].rstrip(b"}")), item.message)
            box.delivered(sink, items[-1].position, len(items))
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
    return folder / "state", folder / "marks", record(folder / "state", folder / "marks")


def cuts(recording, tmp, without_syncs=False):
    """Replay the recording; cut after every sync and at 200 random moments. Yields what was wrong, or an empty list."""
    state, marks, calls = recording
    rng = random.Random(6)
    moments = set(rng.sample(range(len(calls)), 200))
    disk = Disk(state)
    for n, call in enumerate(calls):
        sync = call.name in ("fsync", "fdatasync")
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


def test_nothing_accepted_is_lost_at_any_moment(recording, tmp_path):
    wrong, points = [], 0
    for n, mode, told in cuts(recording, tmp_path):
        points += 1
        if told:
            wrong.append((n, mode, told))
    syncs = sum(call.name in ("fsync", "fdatasync") for call in recording[2])
    print(f"{len(recording[2])} calls, {syncs} syncs, {points} cuts")
    assert points >= 2 * syncs + 150
    assert wrong == []


def test_the_same_without_syncs_is_noticed(recording, tmp_path):
    assert any(told for _, _, told in cuts(recording, tmp_path, without_syncs=True))


def test_the_recording_replays_to_the_same_files(recording, tmp_path):
    """Everything written gives what the run itself left, byte for byte: the recording is complete."""
    state, marks, calls = recording
    disk = Disk(state)
    for call in calls:
        disk.apply(call, marks)
    disk.cut(tmp_path / "end", random.Random(1), "written")
    for name in ("outbox.db", "sequence"):
        assert (tmp_path / "end" / name).read_bytes() == (state / name).read_bytes()
    assert sum(kind == "put" for kind, *_ in disk.marks) == 1680
    assert os.path.exists(state / "outbox.db")
