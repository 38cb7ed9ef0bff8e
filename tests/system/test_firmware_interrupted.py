"""After a kill or a power cut at any point of an update, the camera runs the complete old or new release.

Both are applied to `install` of a second release and to the `boot` that starts it; the next `boot` decides. The power
cuts are repeated without the syncs, and must fail then: this shows that the test detects a missing sync.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.firmware.device import Camera, make_keys
from tests.system.power_cut import CALLS, SYNCS, Disk, record

import bundle  # isort: skip  (found through tests.firmware.device)
import slots  # isort: skip

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace"),
]

SLOTS = Path(slots.__file__)


class Update:
    """A camera that runs 1.0 and is updated to 2.0; its folder can be reset to the state before the update."""

    def __init__(self, folder, keys):
        self.camera = Camera(folder, keys)
        self.camera.run("0.9")  # removed to make room
        self.old = self.camera.run("1.0")
        self.checked = {}  # the problem, by the hash of the files that a cut left
        self.config = folder / "config.yaml"  # deployed with 2.0
        self.config.write_text("for 2.0")
        (self.camera.root / "config").mkdir()
        (self.camera.root / "config/config.yaml").write_text("for 1.0")
        self.before = folder / "before"
        shutil.copytree(self.camera.root, self.before, symlinks=True)
        self.bundle = self.camera.bundle("2.0")
        with self.bundle.open("rb") as file:
            self.new = bundle.open_signed(file, [keys["ours"].with_suffix(".pub.pem")]).manifest.release

    def command(self, name):
        more = [self.bundle, "--config", self.config] if name == "install" else []
        return [sys.executable, "-B", SLOTS, "--root", self.camera.root, name, *more]

    def prepare(self, name):
        """Reset the camera; for `boot`, also install the new release."""
        shutil.rmtree(self.camera.root)
        shutil.copytree(self.before, self.camera.root, symlinks=True)
        if name == "boot":
            self.camera.slots.install(self.bundle, self.config)

    def problem(self, root):
        """What is wrong with the release that the next start runs; None if it is complete and an update succeeds."""
        updater = slots.Slots(root, "boot-1")
        try:
            release, _ = updater.boot()
            if release not in (self.old, self.new):
                return f"runs {release}"
            if (root / "current").resolve() != (root / "releases" / release).resolve():
                return "current points elsewhere"
            found = bundle.damage(root / "current") or self.wrong_config(root, release)
            if found is None and release == self.old:
                updater.install(self.bundle, self.config)
                release, _ = updater.boot()
                found = bundle.damage(root / "current") or self.wrong_config(root, release)
                if release != self.new:
                    found = "a second attempt does not start"
            return found
        except (bundle.UpdateError, OSError) as exc:
            return str(exc)

    def wrong_config(self, root, release):
        """How the configuration differs from the one of the release; None if they match."""
        expected = {self.old: "for 1.0", self.new: "for 2.0"}
        found = (root / "config/config.yaml").read_text()
        return None if found == expected[release] else f"{release} runs with the configuration {found!r}"


@pytest.fixture(scope="module")
def update(tmp_path_factory):
    return Update(tmp_path_factory.mktemp("update"), make_keys(tmp_path_factory.mktemp("keys")))


@pytest.mark.parametrize("name", ["install", "boot"])
def test_killed_at_every_call_that_writes(update, name):
    update.prepare(name)
    root = str(update.camera.root)
    calls = record(update.camera.root.parent / "trace", update.command(name))
    seen, points, wrong = {}, 0, []
    for call in calls:
        seen[call.name] = seen.get(call.name, 0) + 1
        inject = ["-e", f"trace={CALLS}", "-e", f"inject={call.name}:signal=KILL:when={seen[call.name]}"]
        reads_only = call.name == "openat" and "O_CREAT" not in call.arguments
        if reads_only:
            continue
        update.prepare(name)
        done = subprocess.run(
            ["strace", "-o", "/dev/null", *inject, *update.command(name)], capture_output=True, check=False, timeout=60
        )
        points += done.returncode != 0
        if (problem := update.problem(update.camera.root)) is not None:
            wrong.append((call, problem))
    print(f"{name}: killed at {points} calls")
    assert points >= 10, root
    assert wrong == []


@pytest.fixture(scope="module", params=["install", "boot"])
def recording(request, update):
    update.prepare(request.param)
    before = update.camera.root.parent / f"before-{request.param}"
    shutil.copytree(update.camera.root, before, symlinks=True)
    calls = record(update.camera.root.parent / "trace", update.command(request.param))
    after = update.camera.root.parent / f"after-{request.param}"
    shutil.copytree(update.camera.root, after, symlinks=True)
    return before, calls, after


def cuts(update, recording, tmp, without_syncs=False):
    """Cut before and after every sync, and at 200 random points. Yields mode, call and problem (or None) of each."""
    before, calls, _ = recording
    rng = random.Random(8)
    disk = Disk(update.camera.root, before)
    moments = [rng.randrange(len(calls)) for _ in range(200)]
    for n, call in enumerate(calls):
        sync = call.name in SYNCS
        modes = [rng.choice(["torn", "part", "named", "written", "dropped"]) for _ in range(moments.count(n))]
        modes += ["dropped", "torn"] if sync else []
        for mode in modes:
            yield mode, n, cut(update, disk, tmp, rng, mode)
        if not (sync and without_syncs):
            disk.apply(call)
    for mode in ("dropped", "torn", "written", *["named"] * 10):
        yield mode, len(calls), cut(update, disk, tmp, rng, mode)


def cut(update, disk, tmp, rng, mode):
    folder = tmp / "disk"
    disk.cut(folder, rng, mode)
    left = hash(frozenset((str(path), what) for path, what in contents(folder).items()))
    if left not in update.checked:  # many cuts leave the same files
        update.checked[left] = update.problem(folder)
    shutil.rmtree(folder)
    return update.checked[left]


def test_a_power_cut_at_any_moment(update, recording, tmp_path):
    found = list(cuts(update, recording, tmp_path))
    syncs = sum(call.name in SYNCS for call in recording[1])
    print(f"{len(recording[1])} calls, {syncs} syncs, {len(found)} cuts")
    assert len(found) >= 200 + 2 * syncs
    assert [each for each in found if each[2] is not None] == []


def test_the_same_recording_without_syncs_fails(update, recording, tmp_path):
    assert any(problem for *_, problem in cuts(update, recording, tmp_path, without_syncs=True))


def test_the_recording_is_complete(update, recording, tmp_path):
    """Replaying all recorded calls produces the files of the run."""
    before, calls, after = recording
    disk = Disk(update.camera.root, before)
    for call in calls:
        disk.apply(call)
    disk.cut(tmp_path / "end", random.Random(1), "written")
    assert contents(tmp_path / "end") == contents(after)


def contents(folder):
    return {
        path.relative_to(folder): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }
