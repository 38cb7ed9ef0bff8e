"""The file of a gallery: what is written is read, and damage, other keys and hostile headers are one error."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from edge_app import gallery
from edge_app.errors import ConfigError
from edge_app.gallery import cipher, file
from edge_app.gallery.people import Gallery, Person
from edge_app.options import Secret
from tests.gallery.test_people import made

KEY = "a key of some length"


def with_pictures():
    people = made().people
    kept = Person("kept", "2026-02-03T04:05:06Z", people[0].embeddings, (b"\x89PNG first",))
    return Gallery("face", "abc", (*people, kept))


@pytest.fixture
def key(monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv("GALLERY_KEY", KEY)
    monkeypatch.setattr(
        cipher, "_SCRYPT", {"n": 2, "r": 1, "p": 1, "dklen": 32}
    )  # fast; test_cipher.py has the real one
    return Secret("env", "GALLERY_KEY")


def assert_equal(found, expected):
    assert (found.head, found.model) == (expected.head, expected.model)
    assert [(p.name, p.added, p.pictures) for p in found.people] == [
        (p.name, p.added, p.pictures) for p in expected.people
    ]
    for one, other in zip(found.people, expected.people):
        np.testing.assert_array_equal(one.embeddings, other.embeddings)


@pytest.mark.parametrize("people", [Gallery("face", "abc"), made(), with_pictures()], ids=["empty", "some", "pictures"])
def test_what_is_written_is_read(tmp_path, people):
    path = tmp_path / "face.gallery"
    path.write_bytes(file.encode(people, None))
    assert_equal(gallery.load(path, None), people)


def test_an_encrypted_file_needs_its_key_and_shows_no_name(tmp_path, key, monkeypatch):
    path = tmp_path / "face.gallery"
    path.write_bytes(file.encode(with_pictures(), KEY))
    assert_equal(gallery.load(path, key), with_pictures())
    assert b"kept" not in path.read_bytes()
    assert b"PNG" not in path.read_bytes()
    assert file.encode(made(), KEY) != file.encode(made(), KEY)  # another salt and nonce
    with pytest.raises(ConfigError, match="is encrypted; expected its key"):
        gallery.load(path, None)
    monkeypatch.setenv("GALLERY_KEY", "another key of some length")
    with pytest.raises(ConfigError, match="cannot be decrypted: found another key, or a damaged file"):
        gallery.load(path, key)


def test_a_plain_file_is_not_read_with_a_key(tmp_path, key):
    path = tmp_path / "face.gallery"
    path.write_bytes(file.encode(made(), None))
    with pytest.raises(ConfigError, match="is not encrypted, but a key is given"):
        gallery.load(path, key)


def test_a_short_key_is_rejected():
    pytest.importorskip("cryptography")
    with pytest.raises(ConfigError, match="found a key of 5 characters; expected at least 12"):
        file.encode(made(), "short")


def test_a_missing_file_is_no_gallery(tmp_path):
    assert gallery.load(tmp_path / "none.gallery", None) is None


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_changed_byte_and_every_length_is_an_error(tmp_path, key, encrypted):
    data = file.encode(made((1, 1), 4), KEY if encrypted else None)
    path = tmp_path / "face.gallery"
    for position in range(0, len(data), 3):
        for damaged in (data[:position], data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(ConfigError) as caught:
                gallery.load(path, key if encrypted else None)
            assert "\n" not in str(caught.value)


PERSON = {"name": "a", "added": "", "embeddings": 1, "pictures": []}
HEADER = {"head": "face", "model": "m", "dimension": 4, "people": [PERSON]}


def hostile(header, floats=(1.0, 0, 0, 0), rest=b""):
    """A file with a correct hash."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = text + b"\n" + np.array(floats, "<f4").tobytes() + rest
    return b"edge-app gallery 1\n" + hashlib.sha256(content).digest() + content


@pytest.mark.parametrize(
    "data",
    [
        hostile(b"[" * 100_000),
        hostile(b"{}"),
        hostile(b"[]"),
        hostile(b"\xff\xfe"),
        hostile({**HEADER, "dimension": 10**9}),
        hostile({**HEADER, "dimension": -4}),
        hostile({**HEADER, "dimension": True}),
        hostile({**HEADER, "people": [{**PERSON, "embeddings": 10**12}]}),
        hostile({**HEADER, "people": [{**PERSON, "embeddings": -1}, {**PERSON, "name": "b", "embeddings": 2}]}),
        hostile({**HEADER, "people": [{**PERSON, "embeddings": 0}]}, ()),
        hostile({**HEADER, "people": [{**PERSON, "pictures": [-4]}]}, (1.0, 0, 0)),
        hostile({**HEADER, "people": [{**PERSON, "pictures": [10**12]}]}),
        hostile({**HEADER, "people": [PERSON, PERSON]}, (1.0, 0, 0, 0) * 2),
        hostile({**HEADER, "people": [{**PERSON, "name": "a\nb"}]}),
        hostile({**HEADER, "people": [{**PERSON, "name": 3}]}),
        hostile({**HEADER, "people": ["a"]}),
        hostile(HEADER, (np.nan, 0, 0, 0)),
        hostile(HEADER, (1.0, 0, 0, 0), b"more"),
        hostile(HEADER, (1.0, 0, 0)),
        b"",
        b"\x80" * 100,
        b"edge-app gallery 1\n",
    ],
)
def test_a_hostile_file_is_one_line(tmp_path, data):
    path = tmp_path / "face.gallery"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"^\S*face\.gallery: is damaged: .*; expected a gallery") as caught:
        gallery.load(path, None)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
