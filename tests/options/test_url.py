"""Addresses are checked before a library gets them, and no message repeats one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.options import Url

URL = Url("rtsp", "rtsps")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("rtsp://127.0.0.1/x", "127.0.0.1", None),
        ("rtsps://CAM.local:322/", "cam.local", 322),
        ("RTSP://cam:1/x", "cam", 1),
        ("rtsp://bob:p%2Fw@[fe80::1%25eth0]:8554/x", "fe80::1%25eth0", 8554),
        ("rtsp://bob:p@ss@cam:1/x?a=b", "cam", 1),
        ("rtsp://cam:/x", "cam", None),
        ("rtsp://b\xfccher.example/", "xn--bcher-kva.example", None),
        ("rtsp://cam/a@b", "cam", None),
    ],
)
def test_accepts_a_valid_address(text, host, port):
    parts = URL.parse(text)
    assert (parts.hostname, parts.port) == (host, port)


PERCENT = r"found one of / \? # \[ \] in the user or password; expected it percent-encoded \(.*password: file:PATH"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://127.0.0.1:99999/x", "a port that is out of range; expected 1 to 65535"),
        ("rtsp://127.0.0.1:0/x", "the port 0; expected 1 to 65535"),
        ("rtsp://127.0.0.1:" + "9" * 5000, "an address of 5017 characters; expected at most 2000"),
        ("rtsp://127.0.0.1:" + "9" * 1900, "a port that is out of range"),
        ("rtsp://cam:\uff18/", "an invalid host or port"),
        ("rtsp://[::1/x", "unmatched brackets in the host"),
        ("rtsp://[::1]a/", "unmatched brackets in the host"),
        ("rtsp://[zz]/", "an invalid host or port"),
        ("rtsp://a..b/x", "an invalid host name; expected labels of 1 to 63"),
        ("rtsp://" + "a" * 64 + "/", "an invalid host name"),
        ("rtsp://" + "\xfc" * 60 + "/", "an invalid host name"),
        ("rtsp://%63am/", "an invalid host name"),
        ("rtsp:///x", "no host"),
        ("rtsp://:554/x", "no host"),
        ("http://cam/x", "no rtsp:// or rtsps:// address; expected rtsp://host"),
        ("rtsp://cam/\ud800", "a space or a control character"),
        ("rtsp://cam/\0", "a space or a control character"),
        ("rtsp://cam/a b", "a space or a control character"),
        ("rtsp://cam/#a", "a #; expected it percent-encoded: %23"),
    ],
)
def test_rejects_a_malformed_address(text, expected):
    with pytest.raises(ValueError, match=f"found {expected}") as caught:
        URL.parse(text)
    assert text[7:] not in str(caught.value)


@pytest.mark.parametrize("character", "/?#[]")
@pytest.mark.parametrize("before", ["", "hunter", "1"])
def test_says_how_to_write_a_password_with_a_reserved_character(character, before):
    with pytest.raises(ValueError, match=PERCENT) as caught:
        URL.parse(f"rtsp://bob:{before}{character}2canary@cam/live")
    assert "canary" not in str(caught.value)


@given(
    st.text(st.characters(), max_size=40), st.sampled_from(["", "rtsp://", "rtsp://cam/", "rtsp://cam:", "rtsp://["])
)
def test_any_text_is_split_or_rejected_with_one_line(text, start):
    try:
        parts = URL.parse(start + text)
    except ValueError as exc:
        message = str(exc)
    else:
        message = ""
        assert parts.hostname
        assert parts.netloc.rpartition("@")[2].isascii()
        assert parts.port is None or 1 <= parts.port <= 65535
    assert message.isprintable()
    assert len(message) < 300
