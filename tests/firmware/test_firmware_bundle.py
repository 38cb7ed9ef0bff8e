"""A bundle without a trusted signature, or with anything but files inside its release, changes nothing."""

from __future__ import annotations

import hashlib
import json
import zlib

import pytest

import bundle
from bundle import UpdateError

BODY = b"print('hello')\n"


def manifest(**changes):
    fields = {
        "format": 1, "product": "edge-app", "version": "2.0", "board": "amd64", "minimum_version": "0.0",
        "allow_older": False, "schemas": {"config": 1}, "payload_bytes": 0, "payload_sha256": "0" * 64,
        "files": [file()],
    }  # fmt: skip
    return fields | changes


def file(path="start", data=BODY, **changes):
    digest = hashlib.sha256(data).hexdigest()
    return {"path": path, "bytes": len(data), "sha256": digest, "executable": True} | changes


def sealed(camera, fields, payload=None, data=BODY):
    """A bundle signed with a trusted key, with any manifest."""
    import build

    if payload is None:
        payload = zlib.compress(data)
        fields = {**fields, "payload_bytes": len(payload), "payload_sha256": hashlib.sha256(payload).hexdigest()}
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return camera.write(build.seal(text, payload, camera.keys["ours"]))


@pytest.fixture
def running(camera):
    camera.run("1.0")
    return camera


def refused(camera, path, why):
    before, beside = camera.tree(), sorted(camera.root.parent.iterdir())
    with pytest.raises(UpdateError, match=why):
        camera.slots.install(path)
    assert camera.tree() == before
    assert sorted(camera.root.parent.iterdir()) == beside


def test_accepts_a_signed_bundle(running):
    release, _ = running.slots.install(sealed(running, manifest()))
    assert (running.root / "releases" / release / "start").read_bytes() == BODY


BAD_PATHS = [
    "../escape", "/etc/passwd", "a/../../b", "./a", "a//b", "", ".", "..", "a/", "a\\b", "a\nb", "a\0b", "ü", "a b",
    "~/x" * 70, "/".join("a" * 17), "manifest.json",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_rejects_a_path_outside_the_release(running, path):
    refused(running, sealed(running, manifest(files=[file(path)])), "path|twice")


HOSTILE = {
    "symlink": (manifest(files=[file(link="/etc")]), "a file: found"),
    "symlink by type": (manifest(files=[file(type="symlink", target="/etc/shadow")]), "a file: found"),
    "hard link": (manifest(files=[file(type="hardlink", target="start")]), "a file: found"),
    "device node": (manifest(files=[file(type="device", major=1, minor=1)]), "a file: found"),
    "set-uid": (manifest(files=[file(mode=0o4755)]), "a file: found"),
    "set-uid as executable": (manifest(files=[file(executable=0o4755)]), "expected up to"),
    "owner": (manifest(files=[file(uid=0)]), "a file: found"),
    "one path twice": (manifest(files=[file("a"), file("a")]), "twice"),
    "a file in a file": (manifest(files=[file("a"), file("a/b")]), "its parent is a file"),
    "no files": (manifest(files=[]), "expected a list of 1"),
    "too many files": (manifest(files=[file(f"f{n}") for n in range(8001)]), "expected a list"),
    "a gigabyte announced": (manifest(files=[file(bytes=1 << 30)]), "expected up to"),
    "a gigabyte in parts": (manifest(files=[file(f"f{n}", bytes=500 << 20) for n in range(2)]), "in total"),
    "negative size": (manifest(files=[file(bytes=-1)]), "expected up to"),
    "size as text": (manifest(files=[file(bytes="15")]), "expected up to"),
    "another product": (manifest(product="toaster"), "toaster"),
    "another format": (manifest(format=2), "expected"),
    "another board": (manifest(board="rk3588"), "this device is amd64"),
    "older": (manifest(version="0.9"), "is older than 1.0"),
    "follows only a newer one": (manifest(minimum_version="1.5"), "needs version 1.5 or newer"),
    "version as a path": (manifest(version="../1.0"), "version"),
    "unknown field": (manifest(run_after="rm -rf /"), "manifest: found"),
    "not JSON": (b"{", "not JSON"),
    "a list": (b"[]", "manifest: found list"),
    "a key twice": (b'{"format": 1, "format": 1}', "duplicate key"),
    "deep": (b"[" * 100_000, "not JSON"),
    "not ASCII": (b'{"\xff": 1}', "not JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rejects_a_signed_hostile_manifest(running, name):
    fields, why = HOSTILE[name]
    payload = b"" if isinstance(fields, bytes) else None
    refused(running, sealed(running, fields, payload), why)


def test_a_decompression_bomb_reaches_neither_memory_nor_disk(running):
    import tracemalloc

    deflate, block = zlib.compressobj(9), bytes(1 << 24)
    first, again = (deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    checksum = ((1 << 30) % 65521 << 16 | 1).to_bytes(4, "big")  # Adler-32 of that many zeros
    payload = first + again * 63 + b"\x03\x00" + checksum
    assert len(payload) < 2 << 20
    sizes = {"payload_bytes": len(payload), "payload_sha256": hashlib.sha256(payload).hexdigest()}
    path = sealed(running, manifest(files=[file(data=bytes(1000))], **sizes), payload)
    tracemalloc.start()
    refused(running, path, "continues after")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_rejects_payloads_that_differ_from_the_manifest(running):
    refused(running, sealed(running, manifest(), data=BODY[:-1]), "truncated inside start")
    refused(running, sealed(running, manifest(), data=BODY + b"more"), "continues after")
    refused(running, sealed(running, manifest(), data=BODY[::-1]), "start: sha256")
    payload = zlib.compress(BODY)
    sizes = {"payload_bytes": len(payload)}
    refused(running, sealed(running, manifest(**sizes), payload), "payload: sha256")
    sizes = {"payload_bytes": len(payload) + 4, "payload_sha256": hashlib.sha256(payload + b"more").hexdigest()}
    refused(running, sealed(running, manifest(**sizes), payload + b"more"), "continues after")
    refused(running, sealed(running, manifest(**sizes), b"not zlib at all"), "decompressed")


def test_rejects_one_flipped_bit_in_every_part(running):
    data = running.bundle("2.0").read_bytes()
    sizes = [int(n) for n in data.split(b"\n")[0].split()[-2:]]
    begin = data.index(b"\n") + 1
    signature = begin + sizes[0]
    payload = signature + sizes[1]
    spots = {
        "header": range(0, begin, 3), "manifest": range(begin, signature, 97),
        "signature": range(signature, payload, 11),
        "payload": [*range(payload, len(data), 23), len(data) - 1],
    }  # fmt: skip
    before = running.tree()
    for part, offsets in spots.items():
        assert len(offsets) > 3, part
        for at in offsets:
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(UpdateError):
                running.slots.install(running.write(flipped))
    assert running.tree() == before


def test_rejects_a_bundle_truncated_at_any_offset(running):
    data = running.bundle("2.0").read_bytes()
    for size in [0, 1, 17, 18, 25, 100, *range(200, len(data), 301), len(data) - 1]:
        refused(running, running.write(data[:size]), "expected|truncated|matches none|continues|payload")


def test_rejects_bytes_after_the_bundle(running):
    data = running.bundle("2.0").read_bytes()
    refused(running, running.write(data + b"x"), "continues after")


def test_keys_can_be_replaced(running):
    refused(running, running.bundle("2.0", key="stranger"), "matches none of the 1 trusted")
    running.trust("ours", "next")  # rotation: both are trusted for a while
    running.slots.install(running.bundle("2.0", key="ours"))
    running.slots.install(running.bundle("2.0", key="next"))
    running.trust("next")  # the old one is removed
    refused(running, running.bundle("3.0", key="ours"), "matches none")
    running.slots.install(running.bundle("3.0", key="next"))
    running.trust()
    refused(running, running.bundle("3.0", key="next"), "none of the 0")


def test_accepts_an_older_version_if_the_signed_manifest_allows_it(running):
    running.slots.install(running.bundle("0.9", allow_older=True))
    assert running.slots.boot()[0].startswith("0.9-")


def test_versions_are_compared_by_number():
    order = ["0.9", "0.10", "1.0", "1.0.1", "1.2", "1.10"]
    assert sorted(order, key=bundle.version_key) == order
    assert bundle.version_key("1.0") == bundle.version_key("1.0.0")
