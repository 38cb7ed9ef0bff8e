"""Property tests of the updater's parsers: any input gives a valid result or the documented error."""

from __future__ import annotations

import io
import json
import zlib
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import bundle
import device
import state
import trial
from bundle import UpdateError
from tests.firmware.test_firmware_bundle import BODY, manifest

TEXT = st.text(max_size=20) | st.sampled_from(["\ud800", "\0", "\n\x1b[2J", "../..", "x" * 5000, "٣.٣"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DEEP = st.sampled_from(["[" * 400 + "]" * 400, "[" * 990 + "]" * 990, "[" * 99_999, '{"a":' * 900 + "1" + "}" * 900])
NAMES = st.sampled_from(["1.0-0123456789ab", "2.0-ba9876543210", "9.9-000000000000", "../../etc", "1.0", ""])
STATE = {"format": 1, "good": "1.0-0123456789ab", "previous": None, "trial": None, "failed": None}
TRIAL = {"release": "2.0-ba9876543210", "tries_left": 2, "boot_id": "boot-1"}
FAILED = {"release": "2.0-ba9876543210", "reason": "no frames"}

every_input = settings(
    max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def replaced(valid, values):
    """A valid object in which any fields have another value, are missing, or are new."""

    def change(fields, missing):
        return {name: value for name, value in (valid | fields).items() if name not in missing}

    names = st.sampled_from([*valid, "new"])
    return st.builds(change, st.dictionaries(names, values, max_size=3), st.sets(names, max_size=1))


@st.composite
def damaged(draw, valid: bytes):
    """Valid bytes, truncated, or with a piece replaced or inserted."""
    at = draw(st.integers(0, len(valid)))
    cut = draw(st.integers(0, 8))
    return valid[:at] + draw(st.binary(max_size=8)) + valid[at + cut :] * draw(st.integers(0, 1))


def parsed(text: bytes) -> None:
    """Parse a manifest: either it is within all limits, or the error is one short line."""
    if (error := rejection(text)) is not None:
        assert len(error) < 500
        assert error.isprintable()
        return
    found = bundle.parse(text)
    assert bundle.RELEASE.fullmatch(found.release)
    assert bundle.version_key(found.minimum_version) <= (999_999,) * 4
    assert found.unpacked_bytes <= bundle.MAX_BYTES
    for entry in found.files:
        assert ".." not in entry.path.split("/")
        assert not entry.path.startswith("/")


def rejection(text: bytes) -> str | None:
    try:
        bundle.parse(text)
    except UpdateError as exc:
        return str(exc)
    return None


class TestManifest:
    @every_input
    @given(st.binary(max_size=200) | damaged(json.dumps(manifest()).encode()) | DEEP.map(str.encode))
    def test_of_any_bytes(self, text):
        parsed(text)

    @every_input
    @given(JSON | replaced(manifest(), JSON | DEEP.map(lambda text: text[:800])))
    def test_of_any_json(self, fields):
        parsed(json.dumps(fields).encode())

    @every_input
    @given(st.sampled_from(list(manifest())), DEEP)
    def test_with_a_field_nested_as_deeply_as_json_allows(self, name, deep):
        text = json.dumps(manifest(**{name: "@"})).replace('"@"', deep)
        parsed(text.encode())

    @every_input
    @given(replaced(manifest()["files"][0], JSON | st.sampled_from(["a/" * 60_000, "/" * 100_000])))
    def test_of_any_file(self, fields):
        parsed(json.dumps(manifest(files=[fields])).encode())


class TestBundle:
    VALID = b"edge-app-bundle 1 4 2\n{}{}ss"
    PAYLOAD = zlib.compress(BODY)

    @every_input
    @given(st.binary(max_size=100) | damaged(VALID) | st.from_regex(rb"edge-app-bundle 1 \d+ \d+\n.*"))
    @example(b"edge-app-bundle 1 99999999 9999\n")
    @example(b"edge-app-bundle 1 0 0\n")
    def test_header_of_any_bytes(self, data):
        with pytest.raises(UpdateError):
            bundle.open_signed(io.BytesIO(data), [])

    @every_input
    @given(damaged(PAYLOAD) | st.binary(max_size=200), st.integers(0, 300))
    def test_payload_of_any_bytes(self, payload, size):
        found = bundle.parse(json.dumps(manifest(payload_bytes=size)).encode())
        with pytest.raises(UpdateError):  # the hash of the payload in the manifest is of another one
            bundle.verify_payload(bundle.Bundle(io.BytesIO(payload), found, b"", 0))


class TestState:
    """state.json and device.json: ValueError and UpdateError only. health.json: a report or None."""

    VALUES = JSON | NAMES | replaced(TRIAL, JSON | NAMES) | replaced(FAILED, JSON | NAMES)
    ANY = st.binary(max_size=200) | DEEP.map(str.encode) | damaged(json.dumps(STATE | {"trial": TRIAL}).encode())
    ANY_STATE = (
        ANY
        | JSON.map(lambda value: json.dumps(value).encode())
        | replaced(STATE, VALUES).map(lambda value: json.dumps(value).encode())
    )

    @every_input
    @given(ANY_STATE)
    def test_is_read_or_rejected(self, tmp_path, data):
        path = tmp_path / "state.json"
        path.write_bytes(data)
        with suppress(ValueError):
            found = state.read(path)
            for release in (found.good, found.previous, found.chosen):
                assert release is None or bundle.RELEASE.fullmatch(release)
            state.write(path, found)
            assert state.read(path) == found

    @every_input
    @given(ANY_STATE)
    def test_never_keeps_a_camera_from_starting(self, camera, data):
        if not (camera.root / "current").is_symlink():
            camera.run("1.0")
        (camera.root / "state.json").write_bytes(data)
        for command in ("boot", "mark_good", "state", "boot"):
            with suppress(UpdateError):
                getattr(camera.slots, command)()
        camera.slots.rollback("why\n")
        release, _ = camera.slots.boot()
        assert release.startswith("1.0-")
        assert (camera.root / "current").readlink().name == release

    @every_input
    @given(ANY | replaced({"board": "amd64", "wipe": []}, JSON).map(lambda value: json.dumps(value).encode()))
    def test_of_the_device(self, tmp_path, data):
        (tmp_path / "device.json").write_bytes(data)
        with suppress(UpdateError):
            found = device.read(tmp_path)
            assert isinstance(found.board, str)
            assert all(path.startswith("/") for path in found.wipe)

    @every_input
    @given(ANY | replaced({"verdict": "healthy", "reason": ""}, JSON).map(lambda value: json.dumps(value).encode()))
    def test_of_the_health(self, tmp_path, data):
        (tmp_path / "health.json").write_bytes(data)
        found = trial.read_health(tmp_path / "health.json")
        assert found is None or (len(found[1]) <= 300 and found[1].isprintable())
