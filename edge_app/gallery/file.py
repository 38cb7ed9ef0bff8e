"""The file of a gallery: one line of JSON about the people, then embeddings and pictures; all hashed or encrypted.

It is read as a whole and replaced as a whole. Not here: replacing it (cli/), encryption (cipher.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.errors import ConfigError
from edge_app.gallery import cipher
from edge_app.gallery.people import MAX_DIMENSION, MAX_EMBEDDINGS, MAX_PEOPLE, Gallery, Person
from edge_app.options import Secret
from edge_app.options.files import MIB, read_regular

FOLDER = "gallery"  # in state_dir
_PLAIN, _SEALED = b"edge-app gallery 1\n", b"edge-app gallery 1 encrypted\n"
_MAX_FILE, _MAX_HEADER = 128 * MIB, 8 * MIB
_HASH = 32


def path_of(state_dir: Path, head: str) -> Path:
    """The file of the people whose embeddings a head computes. A head's name has no separator."""
    return state_dir / FOLDER / f"{head}.gallery"


def load(path: Path, key: Secret | None) -> Gallery | None:
    """Read a gallery; None if there is no file. Raises ConfigError, in one line, if it cannot be used."""
    try:
        data = read_regular(path, _MAX_FILE)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}; expected a gallery") from exc
    try:
        return decode(data, None if key is None else key.read())
    except cipher.WrongKey as exc:
        raise ConfigError(f"{path}: cannot be decrypted: {exc}; expected the key that it was written with") from exc
    except (ValueError, RecursionError) as exc:
        found = "too deeply nested" if isinstance(exc, RecursionError) else str(exc)
        raise ConfigError(f"{path}: is damaged: {found}; expected a gallery, restore it or remove the file") from exc


def encode(gallery: Gallery, key: str | None) -> bytes:
    """The content of the file. key: encrypts it. Raises ConfigError if that fails, or the file would be too large."""
    people = [
        {
            "name": person.name,
            "added": person.added,
            "embeddings": len(person.embeddings),
            "pictures": [len(picture) for picture in person.pictures],
        }
        for person in gallery.people
    ]
    header = {"head": gallery.head, "model": gallery.model, "dimension": gallery.dimension, "people": people}
    parts = [json.dumps(header).encode() + b"\n"]
    parts += [person.embeddings.astype("<f4").tobytes() for person in gallery.people]
    parts += [picture for person in gallery.people for picture in person.pictures]
    data = b"".join(parts)
    if len(data) > _MAX_FILE - 1024:
        raise ConfigError(f"gallery: found {len(data) // MIB} MiB; expected at most {_MAX_FILE // MIB - 1}")
    if key is None:
        return _PLAIN + hashlib.sha256(data).digest() + data
    return _SEALED + cipher.encrypt(data, key, _SEALED)


def decode(data: bytes, key: str | None) -> Gallery:
    """Read the content of a file. Raises ValueError, which says what was found; ConfigError if a key is missing."""
    if data.startswith(_SEALED):
        if key is None:
            raise ConfigError("gallery: is encrypted; expected its key: option `key` of the rule, or --key")
        return _decode(cipher.decrypt(data[len(_SEALED) :], key, _SEALED))
    if not data.startswith(_PLAIN):
        raise ValueError("found another format")
    if key is not None:
        raise ConfigError(
            "gallery: is not encrypted, but a key is given; expected no key, or `edge-app gallery encrypt`"
        )
    digest, content = data[len(_PLAIN) : len(_PLAIN) + _HASH], data[len(_PLAIN) + _HASH :]
    if not hmac.compare_digest(digest, hashlib.sha256(content).digest()):
        raise ValueError("found another hash")
    return _decode(content)


def _decode(content: bytes) -> Gallery:
    end = content.find(b"\n", 0, _MAX_HEADER)
    if end < 0:
        raise ValueError("found no header")
    header = json.loads(content[:end])
    people, dimension = _field(header, "people", list), _field(header, "dimension", int)
    if len(people) > MAX_PEOPLE or not 0 <= dimension <= MAX_DIMENSION:
        raise ValueError(f"found {len(people)} people and embeddings of {dimension}")
    counts = [_field(person, "embeddings", int) for person in people]
    sizes = [[_size(size) for size in _field(person, "pictures", list)] for person in people]
    if any(count < 1 for count in counts) or sum(counts) > MAX_EMBEDDINGS:
        raise ValueError("found an impossible number of embeddings")
    at, floats = end + 1, sum(counts) * dimension
    if len(content) - at != 4 * floats + sum(map(sum, sizes)):
        raise ValueError("found another length than its header says")
    matrix = np.frombuffer(content, "<f4", floats, at).astype(np.float32).reshape(sum(counts), dimension)
    at += 4 * floats
    listed, row = [], 0
    for person, count, lengths in zip(people, counts, sizes):
        pictures = []
        for length in lengths:
            pictures.append(content[at : at + length])
            at += length
        name, added = _field(person, "name", str), _field(person, "added", str)
        listed.append(Person(name, added, matrix[row : row + count], tuple(pictures)))
        row += count
    try:
        return Gallery(_field(header, "head", str), _field(header, "model", str), tuple(listed))
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc


def _field(entry: Any, name: str, kind: type) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise ValueError(f"found no usable '{name}'")
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 < value <= _MAX_FILE:
        raise ValueError("found an impossible size of a picture")
    return value
