"""Every path that the updater reads or writes, with every type of file: input is rejected, and a start never fails."""

from __future__ import annotations

import copy
import os
import re
import resource
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

import pytest

import bundle
import device
import durable
import slots
from bundle import UpdateError
from tests.firmware.device import Camera

LIMIT_S = 20
SPARE_MEMORY = 256 << 20


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listening, tempfile.TemporaryDirectory() as short:
        listening.bind(f"{short}/s")  # the path of a socket has at most 107 characters
        os.rename(f"{short}/s", path)


def make_device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("needs root to make a device node")


def make_full_folder(path):
    (path / "a/b").mkdir(parents=True)
    (path / "a/file").write_text("x")


def make_huge(path):
    path.touch()
    os.truncate(path, 1 << 39)  # sparse


WRONG = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "folder with contents": make_full_folder,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "device": make_device,
    "socket": make_socket,
    "huge": make_huge,
    "empty": Path.touch,
    "missing": lambda path: None,
}
READ = {
    "the bundle": ("the.bundle", ["install", "the.bundle"]),
    "--config": ("mine.yaml", ["install", "the.bundle", "--config", "mine.yaml"]),
    "a key": ("root/keys/ours.pem", ["install", "the.bundle"]),
    "device.json": ("root/device.json", ["install", "the.bundle"]),
    "device.json to wipe": ("root/device.json", ["wipe"]),
}
CONFIG = [
    "config.yaml", "config.yaml.for-NEW", "config.yaml.before-NEW", "config.yaml.before-x", "config.yaml.schema-1",
    "config.yaml.schema-2",
]  # fmt: skip
wrong_things = pytest.mark.parametrize("wrong", WRONG)


def put(wrong: str, path: Path) -> None:
    """Replace a file by one of the wrong type or size."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    WRONG[wrong](path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, keys):
    """1.0 is good; 2.0, with a configuration and another schema of it, is on trial from the next start on."""
    camera = Camera(tmp_path_factory.mktemp("prepared"), keys)
    camera.old = camera.run("1.0", schemas={"config": 1})
    (camera.root / "config").mkdir()
    (camera.root / "config/config.yaml").write_text("old")
    offered = camera.root.parent / "mine.yaml"
    offered.write_text("new")
    camera.new, _ = camera.slots.install(camera.bundle("2.0", schemas={"config": 2}), offered)
    return camera


@pytest.fixture
def updated(prepared, tmp_path):
    """A copy of the prepared camera, with the files that were installed."""
    camera = copy.copy(prepared)
    shutil.copytree(prepared.root.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    camera.root, camera.data = tmp_path / "root", tmp_path / "data"
    return camera


@pytest.fixture(autouse=True)
def bounded():
    """Limit time and memory, so that a test fails if it blocks or reads a huge file. Restores the umask."""

    def stop(*_):
        raise AssertionError(f"not done within {LIMIT_S} s")

    before, umask = signal.signal(signal.SIGALRM, stop), os.umask(0o022)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MEMORY, limits[1]))
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    signal.signal(signal.SIGALRM, before)
    os.umask(umask)


def contents(folder):
    """The type of each file below a folder, and the content of small regular ones."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files) if name != "lock"):
            status = path.lstat()
            small = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20 and os.access(path, os.R_OK)
            found[path] = stat.S_IFMT(status.st_mode), path.read_bytes() if small else None
    return found


class TestInput:
    """Files that are given to a command, and those that it needs to verify them."""

    @wrong_things
    @pytest.mark.parametrize("read", READ)
    def test_is_rejected_with_one_line_and_no_change(self, updated, capsys, monkeypatch, read, wrong):
        monkeypatch.chdir(updated.root.parent)
        name, command = READ[read]
        put(wrong, Path(name))
        before = contents(Path())
        assert before
        assert slots.main(["--root", "root", *command]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert contents(Path()) == before

    def test_rejects_a_link_to_a_bundle(self, camera):
        link = camera.root.parent / "link"
        link.symlink_to(camera.bundle("1.0"))
        with pytest.raises(UpdateError, match="found a link; expected a regular file"):
            camera.slots.install(link)

    @pytest.mark.parametrize("text", ["[" * 99_999, "[]", "7", '{"board": 1, "wipe": []}', "\0", '{"board": "amd64"}',
                                      '{"board": "amd64", "wipe": "/home"}', '{"board": "amd64", "wipe": ["home"]}',
                                      '{"board": "amd64", "wipe": [["/home"]]}'])  # fmt: skip
    def test_rejects_a_device_file_with_invalid_content(self, camera, text):
        (camera.root / "device.json").write_text(text)
        with pytest.raises(UpdateError, match=r"as setup\.sh writes it"):
            device.read(camera.root)


class TestBoot:
    """A complete release starts, and a pending rollback is carried out."""

    def boot(self, camera, *arguments):
        assert slots.main(["--root", str(camera.root), "boot", *map(str, arguments)]) == 0
        running = (camera.root / "current").readlink().name
        assert bundle.damage(camera.root / "current") is None
        return running

    @wrong_things
    @pytest.mark.parametrize("name", CONFIG)
    def test_starts_a_trial_despite_a_wrong_configuration_file(self, updated, name, wrong):
        put(wrong, updated.root / "config" / name.replace("NEW", updated.new))
        running = self.boot(updated)
        assert running == updated.new or (wrong == "huge" and running == updated.old)

    @wrong_things
    @pytest.mark.parametrize("name", CONFIG)
    def test_rolls_back_despite_a_wrong_configuration_file(self, updated, name, wrong):
        self.boot(updated)
        updated.slots.rollback("no frames")
        put(wrong, updated.root / "config" / name.replace("NEW", updated.new))
        assert self.boot(updated) == updated.old

    @wrong_things
    def test_starts_without_a_configuration_folder(self, updated, wrong):
        shutil.rmtree(updated.root / "config")
        put(wrong, updated.root / "config")
        assert self.boot(updated) in (updated.old, updated.new)

    @wrong_things
    def test_starts_and_repairs_a_wrong_state_file(self, updated, wrong):
        put(wrong, updated.root / "state.json")
        root = ["--root", str(updated.root)]
        assert self.boot(updated) == updated.old
        assert slots.main([*root, "status"]) == 0
        assert slots.main([*root, "install", str(updated.root.parent / "the.bundle")]) == 0
        assert self.boot(updated) == updated.new

    @wrong_things
    def test_starts_a_trial_despite_a_wrong_lock(self, updated, wrong):
        put(wrong, updated.root / "lock")
        assert self.boot(updated) == updated.new

    @wrong_things
    def test_rolls_back_despite_a_wrong_manifest_of_the_failed_release(self, updated, wrong):
        self.boot(updated)
        updated.slots.rollback("no frames")
        put(wrong, updated.root / "releases" / updated.new / bundle.MANIFEST)
        assert self.boot(updated) == updated.old

    @wrong_things
    def test_replaces_a_good_release_with_a_wrong_manifest(self, updated, wrong):
        put(wrong, updated.root / "releases" / updated.old / bundle.MANIFEST)
        with pytest.raises(UpdateError, match=r"is older than 1\.0"):
            updated.slots.install(updated.bundle("0.9"))
        updated.slots.install(updated.bundle("1.1"))
        assert self.boot(updated).startswith("1.1-")

    @pytest.mark.parametrize("wrong", WRONG)
    @pytest.mark.parametrize("name", ["NAME.tmp", "stray"])
    def test_installs_despite_wrong_files_among_the_releases(self, updated, name, wrong):
        durable.remove_tree(updated.root / "releases" / updated.new)
        put(wrong, updated.root / "releases" / name.replace("NAME", updated.new))
        updated.slots.install(updated.root.parent / "the.bundle")
        assert self.boot(updated) == updated.new


class TestHealthFile:
    """The daemon can write to the folder of the health file, and the updater is root."""

    boot = TestBoot.boot

    @wrong_things
    def test_is_replaced_at_each_start_and_the_bad_release_is_rolled_back(self, updated, wrong):
        health = updated.root.parent / "run/health.json"
        for expected in (updated.new, updated.new, updated.new, updated.old):
            put(wrong, health)
            assert self.boot(updated, "--health", health) == expected
            assert not os.path.lexists(health)
        assert "none of them healthy" in updated.slots.state().failed.reason

    @wrong_things
    def test_counts_as_no_report_in_a_trial(self, updated, capsys, wrong):
        self.boot(updated)
        health = updated.root.parent / "run/health.json"
        put(wrong, health)
        command = ["--root", str(updated.root), "trial", str(health), "--timeout", "0.1"]
        assert slots.main(command) == 3
        assert "it reported nothing" in capsys.readouterr().out

    def test_is_removed_without_following_links(self, updated):
        run, outside = updated.root.parent / "run", updated.root.parent / "outside"
        make_full_folder(outside)
        for link_to in (outside, outside / "a/file"):
            run.mkdir(exist_ok=True)
            (run / "health.json").symlink_to(link_to)
            self.boot(updated, "--health", run / "health.json")
            assert list(run.iterdir()) == []
        assert (outside / "a/file").read_text() == "x"

    def test_starts_if_the_parent_is_not_a_folder(self, updated):
        run = updated.root.parent / "run"
        for make in WRONG.values():
            durable.discard(run)
            make(run)
            self.boot(updated, "--health", run / "health.json")

    @pytest.mark.parametrize("depth", [3, 1050])
    def test_a_folder_of_any_depth_is_renamed(self, updated, depth):
        run = updated.root.parent / "run"
        run.mkdir()
        make_deep(run, "health.json", depth)
        self.boot(updated, "--health", run / "health.json")
        assert [path.name.startswith(".health.json.") for path in run.iterdir()] == [True]
        remove_deep(run)


def make_deep(folder, name, depth):
    """Nested folders with a file in the innermost: more than the recursion limit and the limit of descriptors."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def remove_deep(folder):
    """Remove such folders: the cleanup of pytest cannot."""
    device._empty(folder)


class TestDurable:
    """Writing replaces any type of file."""

    @wrong_things
    def test_replace_overwrites_any_type(self, tmp_path, wrong):
        for name in ("state.json", "state.json.tmp"):
            put(wrong, tmp_path / name)
            durable.replace(tmp_path / "state.json", b"new")
            assert durable.read_file(tmp_path / "state.json", 100) == b"new"

    @wrong_things
    def test_set_link_overwrites_any_type(self, tmp_path, wrong):
        for name in ("current", "current.tmp"):
            put(wrong, tmp_path / name)
            durable.set_link(tmp_path / "current", "releases/x")
            assert str((tmp_path / "current").readlink()) == "releases/x"

    @wrong_things
    def test_remove_tree_removes_any_type(self, tmp_path, wrong):
        for name in ("x", "x.tmp"):
            put(wrong, tmp_path / name)
            put(wrong, tmp_path / "x.tmp" if name == "x" else tmp_path / "y")
            durable.remove_tree(tmp_path / name)
            assert not os.path.lexists(tmp_path / name)

    def test_read_file_enforces_the_limit(self, tmp_path):
        (tmp_path / "file").write_bytes(bytes(100))
        assert durable.read_file(tmp_path / "file", 100) == bytes(100)
        with pytest.raises(OSError, match="found 100 bytes; expected at most 99"):
            durable.read_file(tmp_path / "file", 99)


class TestWipe:
    """The data to remove was made by the daemon."""

    def test_removes_a_deep_tree(self, camera, capsys):
        make_deep(camera.data, "d", 1050)
        assert slots.main(["--root", str(camera.root), "wipe"]) == 0
        assert list(camera.data.iterdir()) == []
        assert "1 files, 0 bytes removed" in capsys.readouterr().out

    @wrong_things
    def test_removes_any_type(self, camera, wrong):
        put(wrong, camera.data / "odd")
        put(wrong, camera.data / "folder/odd")
        assert slots.main(["--root", str(camera.root), "wipe"]) == 0
        assert list(camera.data.iterdir()) == []

    def test_prints_one_line_per_file_for_any_name(self, camera, capsys):
        names = [b"line\nbreak", b"\x1b[2J", b"\xff\xfe", "ü".encode()]
        for name in names:
            Path(os.fsdecode(os.fsencode(camera.data) + b"/" + name)).touch()
        assert slots.main(["--root", str(camera.root), "wipe"]) == 0
        printed = capsys.readouterr().out
        assert printed.count("\n") == len(names) + 1
        assert "\x1b" not in printed


def test_every_file_is_opened_by_one_function():
    """No module but durable.py opens files, so that the tests above cover later readers too."""
    opens = re.compile(r"\b(read_bytes|read_text|os\.open|os\.fdopen)\(|(?<!durable)\.open\(|(?<![\w.])open\(")
    for path in Path(slots.__file__).parent.glob("*.py"):
        lines = path.read_text().splitlines() if path.name != "durable.py" else []
        found = [line for line in lines if opens.search(line)]
        assert [line for line in found if not re.search("/proc/|_FOLDER|_opener", line)] == [], path.name
