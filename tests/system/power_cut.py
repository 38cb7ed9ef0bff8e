"""Record the system calls of a run, and compute what a disk could hold after a power cut at any moment.

SIGKILL is no power cut, because the system's cache survives it. What was not synced may be dropped, applied in part, or
torn at a 512-byte sector; names that were not synced may be missing, each folder for itself.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = (
    "openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat,rmdir,rename,renameat,renameat2,mkdir,mkdirat,"
    "symlink,symlinkat,link,linkat"
)
SYNCS = ("fsync", "fdatasync")
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')


@dataclass
class Call:
    name: str
    arguments: str
    result: str


def record(trace: Path, command, **options) -> list[Call]:
    """The system calls of a command, in the order of their return. trace: the file that strace writes."""
    strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", trace]
    subprocess.run([*strace, *command], check=True, timeout=240, **options)
    started, calls = {}, []
    for line in trace.read_text().splitlines():
        if not (found := _LINE.match(line)):
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
class File:
    synced: bytes = b""
    size: int = 0  # as the process sees it
    pending: list = field(default_factory=list)  # (offset, data), or (size, None) to truncate

    def write(self, at, data):
        self.pending.append((at, data))
        self.size = at if data is None else max(self.size, at + len(data))

    def sync(self):
        self.synced, self.pending = self.content(self.pending), []

    def content(self, chosen):
        data = bytearray(self.synced)
        for at, piece in chosen:
            if piece is None:
                data[at:] = b"\0" * max(0, at - len(data))
            else:
                data.extend(b"\0" * max(0, at - len(data)))
                data[at : at + len(piece)] = piece
        return bytes(data)


@dataclass
class Folder:
    live: dict = field(default_factory=dict)  # name -> File, Folder, or the target of a symbolic link
    synced: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)  # (name, new entry or None)

    def change(self, *changes):
        """Names that change at once: a rename takes one away and puts another there, or does neither."""
        _change(self.live, changes)
        self.pending.append(changes)

    def sync(self):
        self.synced, self.pending = dict(self.live), []


class Disk:
    """The files of one folder as a disk holds them, with the writes that are not synced yet.

    before: a copy of the folder as it was at the beginning, all of it on the disk; None: it was not there.
    ignore: ends of names that the disk need not keep.
    """

    def __init__(self, folder: Path, before: Path | None = None, ignore: tuple[str, ...] = ()) -> None:
        self.folder = str(folder)
        self.ignore = ignore
        self.root = Folder() if before is None else _read(before)
        self.marks: list[list[str]] = []

    def apply(self, call: Call, marks: Path | None = None) -> bool:
        """Take one call into account. Returns whether it was a sync by the process under test."""
        if call.name in ("write", "pwrite64"):
            return self._write(call, marks)
        text = _unhex(call.arguments)
        if call.name in SYNCS:
            return self._sync(re.search(r"<(.*)>", text)[1])
        if call.name == "openat":
            self._open(_unhex(re.search(r"<(.*)>", call.result)[1]), text)
        elif call.name == "ftruncate":
            path, size = re.match(r"\d+<(.*)>, (\d+)", text).groups()
            if isinstance(inode := self._find(path), File):
                inode.write(int(size), None)
        else:
            self._rename(call.name, [os.path.join(folder, name) for folder, name in _PATH.findall(text)], text)
        return False

    def cut(self, folder: Path, rng: random.Random, mode: str) -> None:
        """Lay out what a power cut now would leave: `dropped`, `written`, `part` or `torn` of what is not synced;
        `named`: all the names, and part of what was to be in them.
        """
        _lay_out(self.root, folder, rng, mode)

    def _parts(self, path):
        """The names below the folder; None for what lies elsewhere or is ignored."""
        if path == self.folder:
            return []
        if not path.startswith(self.folder + "/") or path.endswith(self.ignore or ("\0",)):
            return None
        return path[len(self.folder) + 1 :].split("/")

    def _find(self, path):
        found = self.root
        for name in self._parts(path) if self._parts(path) is not None else ["\0"]:
            found = found.live.get(name) if isinstance(found, Folder) else None
        return found

    def _parent(self, path):
        """The folder that holds a path, and its name in it; None for what lies elsewhere."""
        parts = self._parts(path)
        if not parts:
            return None
        return self._find(os.path.dirname(path)), parts[-1]

    def _open(self, path, text):
        at = self._parent(path)
        if at is None or "O_DIRECTORY" in text:
            return
        folder, name = at
        if name not in folder.live and "O_CREAT" in text:
            folder.change((name, File()))
        elif "O_TRUNC" in text:
            folder.live[name].write(0, None)

    def _rename(self, call, paths, text):
        places = [self._parent(path) for path in paths]
        if call.startswith(("symlink", "link")):
            if places[-1] is not None:
                folder, name = places[-1]
                folder.change((name, _target(text) if call.startswith("symlink") else self._find(paths[0])))
            return
        if not places or places[0] is None:
            return
        folder, name = places[0]
        if call.startswith("mkdir"):
            folder.change((name, Folder()))
        elif call.startswith("rename"):
            other, fresh = places[1]
            assert other is folder, "a rename across folders: not written down here yet"
            if name in folder.live:
                folder.change((name, None), (fresh, folder.live[name]))
        elif name in folder.live:
            folder.change((name, None))

    def _write(self, call, marks):
        fd_path, data, rest = re.match(r'\d+<([^>]*)>(?:\(deleted\))?, "([^"]*)"(.*)', call.arguments).groups()
        path, data = _unhex(fd_path), bytes.fromhex(data.replace("\\x", ""))
        if path == str(marks):
            self.marks.append(data.decode().split())
        elif isinstance(inode := self._find(path), File):
            numbers = [int(n) for n in re.findall(r"\d+", rest)]
            inode.write(numbers[1] if call.name == "pwrite64" else inode.size, data)
        return False

    def _sync(self, path):
        inode = self._find(path)
        if inode is None:
            return False
        inode.sync()
        return True


def _lay_out(tree, folder, rng, mode):
    names = dict(tree.synced)
    kept = {"dropped": 0, "written": len(tree.pending), "named": len(tree.pending)}.get(mode)
    kept = rng.randint(0, len(tree.pending)) if kept is None else kept
    for changes in tree.pending[:kept]:
        _change(names, changes)
    folder.mkdir()
    for name, inode in names.items():
        if isinstance(inode, Folder):
            _lay_out(inode, folder / name, rng, mode)
        elif isinstance(inode, File):
            (folder / name).write_bytes(inode.content(_chosen(inode, rng, mode)))
        else:
            (folder / name).symlink_to(inode)


def _chosen(inode, rng, mode):
    chosen = {"dropped": [], "written": inode.pending}.get(mode)
    if chosen is None:
        chosen = [op for op in inode.pending if rng.random() < 0.5]
    return [piece for op in chosen for piece in _torn(op, rng)] if mode == "torn" else chosen


def _torn(op, rng):
    at, data = op
    if data is None:
        return [op]
    cuts = range(SECTOR - at % SECTOR, len(data), SECTOR)
    pieces = [(at + a, data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)])]
    return [piece for piece in pieces if rng.random() < 0.5]


def _change(names, changes):
    for name, inode in changes:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _read(path):
    """The content of the disk at the start."""
    if path.is_symlink():
        return str(path.readlink())
    if path.is_file():
        data = path.read_bytes()
        return File(data, len(data))
    names = {each.name: _read(each) for each in path.iterdir()}
    return Folder(dict(names), names)


def _target(text):
    return re.match(r'"([^"]*)"', text)[1]


def _unhex(text):
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda m: bytes.fromhex(m[0].replace("\\x", "")).decode(), text)
