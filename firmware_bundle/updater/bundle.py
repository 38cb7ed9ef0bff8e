r"""The bundle: one file that carries a release. Verifies and unpacks it.

    edge-app-bundle 1 <bytes of the manifest> <bytes of the signature>\n
    manifest      JSON: product, version, board, and every file with its size and sha256
    signature     ECDSA P-256 with SHA-256 over the manifest's bytes
    payload       the bytes of the files in the order of the manifest, as one zlib stream

The format cannot express links, devices, owners or set-uid bits. Needs the standard library and the `openssl` program.
Not here: building bundles (build.py), installing a release (releases.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import durable
from text import one_line

MAGIC = b"edge-app-bundle 1 "
PRODUCT = "edge-app"
FORMAT = 1
MANIFEST = "manifest.json"  # the manifest inside an unpacked release
MAX_HEADER = 64
MAX_MANIFEST = 2 << 20
MAX_SIGNATURE = 512
MAX_FILES = 8_000
MAX_BYTES = 512 << 20  # unpacked, and the payload; the free space of the board is checked as well
MAX_BUNDLE = MAX_HEADER + MAX_MANIFEST + MAX_SIGNATURE + MAX_BYTES
MAX_KEY = 1 << 16
MAX_PATH, MAX_DEPTH = 200, 16
CHUNK = 1 << 16
_NUMBERS = r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}"
_VERSION = re.compile(_NUMBERS)
RELEASE = re.compile(_NUMBERS + r"-[0-9a-f]{12}")  # Manifest.release
_BOARD = re.compile(r"[a-z0-9]{2,16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9_.+@=,~-]{1,120}")


class UpdateError(Exception):
    """A bundle is rejected: one line with what was found and what was expected."""


@dataclass(frozen=True)
class Entry:
    """One regular file of a release. path: relative, with `/`."""

    path: str
    bytes: int
    sha256: str
    executable: bool


@dataclass(frozen=True)
class Manifest:
    """The manifest of a bundle. schemas: by name, the format version of data that the release stores on the device.

    minimum_version: the oldest release that it can be installed over. allow_older: it may replace a newer one.
    """

    version: str
    board: str
    minimum_version: str
    allow_older: bool
    schemas: dict[str, int]
    payload_bytes: int
    payload_sha256: str
    files: tuple[Entry, ...]

    @property
    def release(self) -> str:
        """The name of the release's folder, different for each build of one version."""
        return f"{self.version}-{self.payload_sha256[:12]}"

    @property
    def unpacked_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle with a verified signature. payload_at: offset of the payload in the file."""

    file: BinaryIO
    manifest: Manifest
    manifest_bytes: bytes
    payload_at: int


def open_signed(file: BinaryIO, keys: Sequence[Path]) -> Bundle:
    """Read header and manifest of a bundle. keys: PEM files, each trusted. Raises UpdateError; writes nothing."""
    text, signature = read_signed(file)
    if not any(_verifies(text, signature, key) for key in keys):
        raise UpdateError(
            f"its signature matches none of the {len(keys)} trusted keys; expected a signature by one of them"
        )
    return Bundle(file, parse(text), text, file.tell())


def read_signed(file: BinaryIO) -> tuple[bytes, bytes]:
    """The bytes of the manifest and of its signature, neither verified. Raises UpdateError."""
    file.seek(0)
    header = file.readline(MAX_HEADER)
    found = re.fullmatch(rb"(\d{1,8}) (\d{1,4})\n", header[len(MAGIC) :]) if header.startswith(MAGIC) else None
    if found is None:
        raise UpdateError(f"found {header[:24]!r} at its start; expected an edge-app bundle of format {FORMAT}")
    sizes = int(found[1]), int(found[2])
    if sizes[0] > MAX_MANIFEST or sizes[1] > MAX_SIGNATURE:
        raise UpdateError(f"manifest of {sizes[0]} and signature of {sizes[1]} bytes; expected less")
    text, signature = file.read(sizes[0]), file.read(sizes[1])
    if (len(text), len(signature)) != sizes:
        raise UpdateError("truncated inside the manifest; expected a complete bundle")
    return text, signature


def parse(text: bytes) -> Manifest:
    """Parse a manifest and validate every field. Raises UpdateError."""
    try:
        fields = json.loads(text.decode("ascii"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as exc:
        raise UpdateError(f"manifest: not JSON: {exc}") from None
    known = "format product version board minimum_version allow_older schemas payload_bytes payload_sha256 files"
    fields = _fields(fields, known.split(), "manifest")
    if fields["product"] != PRODUCT or fields["format"] != FORMAT:
        found = f"{_shown(fields['product'])} {_shown(fields['format'])}"
        raise UpdateError(f"manifest: found {found}; expected {PRODUCT!r} {FORMAT}")
    schemas = fields["schemas"]
    if not isinstance(schemas, dict) or not all(_whole(v, 1 << 16) and _BOARD.fullmatch(k) for k, v in schemas.items()):
        raise UpdateError(f"manifest: schemas: found {_shown(schemas)}; expected names and whole numbers")
    if not isinstance(fields["allow_older"], bool):
        raise UpdateError("manifest: allow_older: expected true or false")
    if not _whole(fields["payload_bytes"], MAX_BYTES):
        raise UpdateError(
            f"manifest: payload_bytes: found {_shown(fields['payload_bytes'])}; expected up to {MAX_BYTES}"
        )
    return Manifest(
        _text(fields, "version", _VERSION),
        _text(fields, "board", _BOARD),
        _text(fields, "minimum_version", _VERSION),
        fields["allow_older"],
        schemas,
        fields["payload_bytes"],
        _text(fields, "payload_sha256", _SHA256),
        _entries(fields["files"]),
    )


def verify_payload(bundle: Bundle) -> None:
    """Decompress the whole payload and compare it with the manifest; writes nothing. Raises UpdateError."""
    for _, pieces in _contents(bundle):
        for _ in pieces:
            pass


def unpack(bundle: Bundle, folder: Path) -> None:
    """Write the listed files and the manifest to a new folder and sync each. Verifies again; raises UpdateError."""
    folder.mkdir()
    folders = {folder}
    for entry, pieces in _contents(bundle):
        path = folder / entry.path
        for each in reversed([f for f in path.relative_to(folder).parents if folder / f not in folders]):
            (folder / each).mkdir()
            folders.add(folder / each)
        durable.write_new(path, pieces, 0o755 if entry.executable else 0o644)
    durable.write_new(folder / MANIFEST, [bundle.manifest_bytes])
    for each in sorted(folders, reverse=True):
        durable.sync_folder(each)


def damage(folder: Path) -> str | None:
    """The first difference between an unpacked release and its manifest, or None."""
    try:
        manifest = parse(durable.read_file(folder / MANIFEST, MAX_MANIFEST))
        for entry in manifest.files:
            if hashlib.sha256(durable.read_file(folder / entry.path, MAX_BYTES)).hexdigest() != entry.sha256:
                return f"{entry.path}: changed or damaged"
    except (OSError, UpdateError) as exc:
        return str(exc)
    return None


def version_key(version: str) -> tuple[int, ...]:
    """The key that orders versions: 1.10 is newer than 1.9, and 1.0 equals 1."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _contents(bundle: Bundle) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Every file with its bytes, in the order of the manifest; read each to its end. Raises UpdateError."""
    manifest = bundle.manifest
    bundle.file.seek(bundle.payload_at)
    stream = _Stream(bundle.file, manifest.payload_bytes)
    for entry in manifest.files:
        yield entry, _checked(entry, stream.read)
    if stream.read(1) or not stream.ended or bundle.file.read(1):
        raise UpdateError("payload: continues after the last listed file")
    if stream.sha256.hexdigest() != manifest.payload_sha256:
        raise UpdateError("payload: sha256 differs from the manifest's")


def _checked(entry: Entry, read: Callable[[int], bytes]) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), entry.bytes
    while left:
        piece = read(min(left, CHUNK))
        if not piece:
            raise UpdateError(f"payload: truncated inside {entry.path}")
        digest.update(piece)
        left -= len(piece)
        yield piece
    if digest.hexdigest() != entry.sha256:
        raise UpdateError(f"payload: {entry.path}: sha256 differs from the manifest's")


class _Stream:
    """The payload, decompressed in pieces; memory is bounded by the size of a read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size
        self._inflate = zlib.decompressobj()
        self.sha256 = hashlib.sha256()

    @property
    def ended(self) -> bool:
        """Whether the compressed stream and its input end at the same point."""
        return self._inflate.eof and not self._inflate.unused_data and not self._left

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._more()
            try:
                piece = self._inflate.decompress(packed, size)
            except zlib.error as exc:
                raise UpdateError(f"payload: cannot be decompressed: {exc}") from None
            if piece or not packed:
                return piece
        return b""

    def _more(self) -> bytes:
        packed = self._file.read(min(self._left, CHUNK))
        self._left -= len(packed)
        self.sha256.update(packed)
        return packed


def _verifies(data: bytes, signature: bytes, key: Path) -> bool:
    """Whether `openssl` verifies the signature. key: a PEM file with a public key. Raises UpdateError."""
    try:
        pem = durable.open_file(key, MAX_KEY)
    except OSError as exc:
        raise UpdateError(f"{key}: cannot be read: {exc.strerror}") from None
    read, write = os.pipe()
    try:
        os.write(write, signature)  # much smaller than the capacity of a pipe
        os.close(write)
        fds = pem.fileno(), read
        command = ["openssl", "dgst", "-sha256", "-verify", f"/dev/fd/{fds[0]}", "-signature", f"/dev/fd/{fds[1]}"]
        done = subprocess.run(command, input=data, capture_output=True, pass_fds=fds, timeout=60, check=False)
    except FileNotFoundError:
        raise UpdateError("the program openssl is missing; it is needed to verify signatures") from None
    except subprocess.TimeoutExpired:
        raise UpdateError(f"{key}: openssl did not finish within 60 s; expected a public key") from None
    finally:
        os.close(read)
        pem.close()
    return done.returncode == 0 and done.stdout.strip() == b"Verified OK"


def _entries(files: object) -> tuple[Entry, ...]:
    if not isinstance(files, list) or not 0 < len(files) <= MAX_FILES:
        raise UpdateError(f"manifest: files: expected a list of 1 to {MAX_FILES}")
    entries = tuple(_entry(each) for each in files)
    taken = {MANIFEST}
    for entry in entries:
        if entry.path in taken:
            raise UpdateError(f"manifest: {entry.path}: found twice")
        taken.add(entry.path)
    for entry in entries:
        parents = entry.path.split("/")[:-1]
        if any("/".join(parents[: n + 1]) in taken for n in range(len(parents))):
            raise UpdateError(f"manifest: {entry.path}: its parent is a file")
    if sum(entry.bytes for entry in entries) > MAX_BYTES:
        raise UpdateError(f"manifest: the files have more than {MAX_BYTES} bytes in total")
    return entries


def _entry(fields: object) -> Entry:
    fields = _fields(fields, ["path", "bytes", "sha256", "executable"], "manifest: a file")
    path = fields["path"]
    parts = path.split("/", MAX_DEPTH) if isinstance(path, str) and len(path) <= MAX_PATH else [""]
    if len(parts) > MAX_DEPTH or not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise UpdateError(f"manifest: found the path {_shown(path)}; expected one inside the release")
    if not _whole(fields["bytes"], MAX_BYTES) or not isinstance(fields["executable"], bool):
        raise UpdateError(f"manifest: {path}: found {_shown(fields['bytes'])} bytes; expected up to {MAX_BYTES}")
    return Entry(path, fields["bytes"], _text(fields, "sha256", _SHA256), fields["executable"])


def _fields(value: object, names: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        found = one_line(", ".join(value), 120) if isinstance(value, dict) else type(value).__name__
        raise UpdateError(f"{where}: found {found}; expected {', '.join(names)}")
    return value


def _text(fields: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise UpdateError(f"manifest: {name}: found {_shown(value)}; expected {pattern.pattern}")
    return value


def _shown(value: object) -> str:
    """A value for a message; the type of a list or object, which may be nested too deeply to print."""
    return type(value).__name__ if isinstance(value, list | dict) else f"{value!r:.60}"


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate key in an object")
    return dict(pairs)
