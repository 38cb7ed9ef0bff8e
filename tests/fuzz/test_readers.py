"""Every reader of a file from a user, a model or a peer x every kind of wrong file: one line, without waiting."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_app import config, registry
from edge_app.clock import SystemClock
from edge_app.config.loading import load_device
from edge_app.errors import EdgeError, ModelError
from edge_app.inference.golden_file import GoldenFile
from edge_app.model import manifest
from edge_app.options.files import check_regular, read_regular
from edge_app.options.secret import Secret
from edge_app.reuse import cost_file, profile
from edge_app.sinks import SinkContext
from tests.conftest import PROJECT

LIMIT_S = 5
PACKAGE = PROJECT / "edge_app"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """Bound by a short relative name: a socket's address has at most 107 bytes."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path.name)
    finally:
        os.chdir(before)


def folder(path: Path) -> None:
    path.mkdir()


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_a_fifo(path: Path) -> None:
    fifo(path.with_name("other"))
    path.symlink_to("other")


def endless(path: Path) -> None:
    """4 TB, as far as the file system allows it, that take no space."""
    with path.open("wb") as file:
        for size in (4 << 40, 4 << 30):
            with contextlib.suppress(OSError):
                file.truncate(size)
                return


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\0\xfe" * 100)


WRONG = (fifo, unix_socket, folder, zero, loop, link_to_a_fifo, endless, binary)


def outside(path: Path) -> None:
    """A valid file, but in another folder."""
    target = path.parents[1] / f"outside-{path.name}"
    path.rename(target) if path.exists() else target.write_text("cat\ndog\n", encoding="utf-8")
    path.symlink_to(target)


def through_a_linked_folder(path: Path) -> None:
    target = path.parents[1] / "elsewhere"
    target.mkdir()
    (target / path.name).write_text("cat\ndog\n", encoding="utf-8")
    path.symlink_to(target / path.name)


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Interrupts a system call that blocks."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still reading after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


MANIFEST = """format: 1
name: m
input: {width: 64, height: 48}
heads: {kind: {family: classify, graph: {onnx: a.onnx}, labels: LABELS}}
"""


def write_manifest(path: Path, labels: str = "[cat, dog]") -> Path:
    (path.parent / manifest.FILE).write_text(MANIFEST.replace("LABELS", labels), encoding="utf-8")
    return path.parent


def read_labels(path: Path) -> None:
    manifest.load(write_manifest(path, path.name))


def read_graph(path: Path) -> None:
    loaded = manifest.load(write_manifest(path))
    backend = registry.build("backends", "onnx")
    backend.load(loaded.file(path.name))


def read_golden(path: Path) -> None:
    """As golden.py does."""
    try:
        GoldenFile(manifest.load(write_manifest(path)).file(path.name))
    except ValueError as exc:
        raise ModelError(f"{path}: {exc}") from exc


def read_manifest(path: Path) -> None:
    path.rename(path.with_name(manifest.FILE))
    manifest.load(path.parent)


def read_credential(path: Path) -> None:
    os.environ["CREDENTIALS_DIRECTORY"] = str(path.parent)
    try:
        Secret.parse(f"credential:{path.name}", path.parent).read()
    finally:
        del os.environ["CREDENTIALS_DIRECTORY"]


MODEL_FILES: dict[str, Callable[[Path], object]] = {
    "labels": read_labels,
    "graph": read_graph,
    "golden vectors": read_golden,
    "model.yaml": read_manifest,
}
READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": config.load,
    "config.yaml, only the device": load_device,
    "reuse profile": profile.load,
    "reuse costs": cost_file.load,
    "secret in a file": lambda path: Secret.parse(f"file:{path.name}", path.parent).read(),
    "secret as a credential": read_credential,
    **MODEL_FILES,
}
REQUIRED = {"url": "rtsp://127.0.0.1/x", "host": "127.0.0.1"}  # by option, for plug-ins
REQUIRED_OF = {"http": {"url": "https://127.0.0.1/x"}, "mqtt": {"tls": True}}
READS_NONE_IF_ABSENT = ("reuse profile", "reuse costs")


def path_options() -> list[tuple[str, str, str]]:
    """Kind, type and name of every option of a plug-in that is a path."""
    return [
        (kind, type_, option.name)
        for kind in ("sources", "backends", "heads", "rules", "sinks")
        for type_ in registry.names(kind)
        for option in registry.options(kind, type_)
        if "Path" in str(option.annotation)
    ]


def build(kind: str, type_: str, option: str, path: Path) -> None:
    """Construct a plug-in with `path` as an option. A source also reads a frame: it may open the file only then."""
    given = {**REQUIRED, **REQUIRED_OF.get(type_, {})}
    options = {o.name: given[o.name] for o in registry.options(kind, type_) if o.name in given}
    others = {o.name for o in registry.options(kind, type_)} & {"cert", "key"} if option in ("cert", "key") else set()
    options |= dict.fromkeys({option, *others}, path)
    context = {"sources": SystemClock(), "sinks": SinkContext("cam-1", "sink", SystemClock())}[kind]
    plugin = registry.build(kind, type_, context, **options)
    with contextlib.closing(plugin):
        if kind == "sources" and plugin.live is None:
            plugin.read(timeout_s=0)


def assert_one_line(error: pytest.ExceptionInfo[EdgeError], path: Path) -> None:
    for line in str(error.value).splitlines():
        assert path.name in line or manifest.FILE in line
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_is_not_a_file_is_one_line(tmp_path: Path, reader: str, wrong: Callable[[Path], None]):
    if reader in READS_NONE_IF_ABSENT and wrong is loop:
        pytest.skip("a link without a target counts as absent")
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    wrong(path)
    with pytest.raises(EdgeError) as error:
        READERS[reader](path)
    assert_one_line(error, path)


@pytest.mark.parametrize("link", [outside, through_a_linked_folder], ids=lambda each: each.__name__)
@pytest.mark.parametrize("reader", MODEL_FILES)
def test_a_link_out_of_the_model_folder_is_one_line(tmp_path: Path, reader: str, link: Callable[[Path], None]):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    link(path)
    with pytest.raises(EdgeError, match="Is a link to a file outside the folder") as error:
        MODEL_FILES[reader](path)
    assert_one_line(error, path)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.__name__)
@pytest.mark.parametrize(("kind", "type_", "option"), path_options(), ids=str)
def test_a_wrong_file_in_a_path_option_of_any_plug_in_is_one_line(tmp_path, kind, type_, option, wrong):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    wrong(path)
    if type_ == "jsonl" and wrong in (endless, binary):
        return  # a regular file, which it appends to
    with pytest.raises(EdgeError) as error:
        build(kind, type_, option, path)
    assert len(str(error.value).splitlines()) == 1
    assert path.name in str(error.value)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.__name__)
def test_read_regular_raises_only_os_error(tmp_path: Path, wrong: Callable[[Path], None]):
    path = tmp_path / "file"
    wrong(path)
    if wrong is binary:
        assert len(read_regular(path, 300)) == 300
        with pytest.raises(OSError, match="Is larger than 299 bytes"):
            read_regular(path, 299)
        return
    with pytest.raises(OSError, match=r"\w") as error:
        read_regular(path, 1000)
    assert error.value.strerror


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "x/" * 3000])
def test_an_impossible_path_is_an_os_error(tmp_path: Path, name: str):
    for function in (lambda path: read_regular(path, 10), lambda path: read_regular(path, 10, inside=tmp_path)):
        with pytest.raises(OSError, match=r"\w"):
            function(tmp_path / name)
    with contextlib.suppress(OSError):
        check_regular(tmp_path / name)


def test_links_inside_the_folder_are_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")  # the folder itself may be a link
    (tmp_path / "real" / "b").symlink_to("a")
    assert read_regular(tmp_path / "link" / "b", 1, inside=tmp_path / "link") == b"x"


def test_a_file_of_the_kernel_that_states_no_size_is_read(tmp_path: Path):
    assert stat.S_ISREG(os.stat("/proc/self/status").st_mode)
    assert b"VmRSS" in read_regular(Path("/proc/self/status"), 10_000)
    with pytest.raises(OSError, match="Is larger than 100 bytes"):
        read_regular(Path("/proc/self/status"), 100)


# Modules that open files themselves, and which: their own, the kernel's, those of this package, or checked before.
OPENS = {
    "backends/_soc.py": "kernel",
    "cli/commands/schema.py": "of this package",
    "cli/demo.py": "of this package",
    "cli/doctor.py": "kernel, and the vendor's libraries",
    "cli/gallery_file.py": "its folder, to lock it",
    "cli/memory_limit.py": "kernel",
    "cli/parser.py": "/dev/null",
    "cli/power.py": "kernel",
    "clips/folder.py": "its own, in state_dir",
    "clock.py": "kernel",
    "commands/atomic_file.py": "what it writes",
    "daemon/discovery.py": "kernel",
    "daemon/health_file.py": "the updater's",
    "daemon/mapped_files.py": "kernel",
    "daemon/snapshots.py": "its own",
    "daemon/state_dir.py": "its own, in state_dir",
    "device.py": "kernel",
    "model/manifest.py": "of this package",
    "model/memory.py": "kernel",
    "options/files.py": "read_regular",
    "outbox/disk.py": "its own, in state_dir",
    "outbox/event_log.py": "its own, in state_dir",
    "outbox/sequence.py": "its own, in state_dir",
    "pipeline/idle.py": "kernel",
    "pipeline/sensors.py": "kernel",
    "registry.py": "metadata of installed packages",
    "reuse/cost_file.py": "kernel",
    "sinks/jsonl.py": "what it writes; checked before",
    "sources/_container.py": "a video that video.py has checked",
    "sources/_ffmpeg.py": "kernel",
    "sources/_v4l2.py": "the device that the user names",
    "sources/v4l2.py": "kernel",
    "sources/video.py": "checked before",
    "web/handlers.py": "of this package",
}
_CALLS = ("read_bytes", "read_text", "open", "load", "imread", "fromfile", "memmap")


def opens_files(path: Path) -> set[str]:
    """Calls that open a file: `path.read_bytes()`, `open(…)`, `os.open(…)`, `np.load(…)`."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    found = {call.id for call in calls if isinstance(call, ast.Name) and call.id == "open"}
    for call in calls:
        if isinstance(call, ast.Attribute) and call.attr in _CALLS:
            owner = ast.unparse(call.value)
            always = call.attr not in ("open", "load") or owner in ("os", "np")
            if always or (call.attr == "open" and re.search("path|file|folder", owner)):
                found.add(call.attr)
    return found


def test_other_modules_read_files_only_by_read_regular():
    """So that a later reader is in the tests above, or in the list with its reason. Host-only packages are left out."""
    host_only = ("bench", "compiler", "evaluation", "slim")
    modules = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] not in host_only]
    found = {path.relative_to(PACKAGE).as_posix() for path in modules if opens_files(path)}
    assert found == set(OPENS)
