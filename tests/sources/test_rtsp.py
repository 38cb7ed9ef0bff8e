"""rtsp without a camera: the url, secrets, the lag estimate, and a server that does not answer."""

import os
import socket
import time
from pathlib import Path

import pytest

from edge_app.clock import SystemClock
from edge_app.errors import ConfigError, OptionError, SourceError
from edge_app.options import Secret
from edge_app.sources.rtsp import Source
from tests.hostile_peers import RTSP, HostilePeer
from tests.sources import network, rtsp_peer


def test_a_login_option_overrides_the_one_in_the_url(tmp_path):
    (tmp_path / "login").write_text("bob:p@ss:word\n")
    (tmp_path / "word").write_text("p@ss:word\n")
    word = Secret.parse("file:word", tmp_path)
    for options in (
        {"url": "rtsp://eve:x@cam:8554/live", "credentials": tmp_path / "login"},
        {"url": "rtsp://eve:x@cam:8554/live", "username": "bob", "password": word},
        {"url": "rtsp://bob@cam:8554/live", "password": word},
    ):
        assert Source(SystemClock(), **options)._url == "rtsp://bob:p%40ss%3Aword@cam:8554/live"


@pytest.mark.parametrize("more", [{"password": Secret("env", "EDGE_WORD")}, {"credentials": Path("login")}])
def test_rejects_an_incomplete_or_ambiguous_login(monkeypatch, more):
    monkeypatch.setenv("EDGE_WORD", "hunter2")
    with pytest.raises(OptionError, match=r"expected (username too|one of the two)"):
        Source(SystemClock(), url="rtsp://cam/", username=None if "password" in more else "bob", **more)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("rtsp://bob:pa%40ss@cam:8554/live", "rtsp://…@cam:8554/live"),
        ("rtsp://cam/live?user=bob&password=x", "rtsp://cam/live?…"),
        ("rtsp://cam/user=bob_password=x.sdp", "rtsp://cam/user=…"),
        ("rtsp://cam/0/bob:x/main", "rtsp://cam/0/…/main"),
        ("rtsp://bob:${EDGE_WORD}@cam/${EDGE_WORD}/live", "rtsp://…@cam/…/live"),
    ],
)
def test_messages_contain_no_secret(monkeypatch, url, shown):
    monkeypatch.setenv("EDGE_WORD", "hunter2")
    assert Source(SystemClock(), url=url)._shown == shown


def test_error_messages_do_not_contain_the_secret(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_THERE", raising=False)
    (tmp_path / "login").write_text("hunter2")
    clock = SystemClock()
    for options, found in (
        ({"url": "rtsp://${NOT_THERE}@cam/"}, r"found \$\{NOT_THERE\}; expected an environment variable"),
        ({"url": "http://cam/"}, "expected rtsp://"),
        ({"url": "rtsp://"}, "expected rtsp://"),
        ({"url": "rtsp://cam/", "credentials": tmp_path / "login"}, "found no colon; expected a line user:password"),
        (
            {"url": "rtsp://cam/", "credentials": tmp_path / "none"},
            "cannot be read: No such file or directory; expected a line",
        ),
    ):
        with pytest.raises(ConfigError, match=found) as caught:
            Source(clock, **options)
        assert "hunter2" not in str(caught.value)


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_an_unreachable_port_is_one_line(capfd, monkeypatch):
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    port = unused_port()
    source = Source(SystemClock(), url=f"rtsp://bob:secret@127.0.0.1:{port}/live")
    with pytest.raises(SourceError) as caught:
        source.read(1.0)
    assert str(caught.value) == (
        f"rtsp://…@127.0.0.1:{port}/live: cannot be opened: Connection refused; expected an RTSP stream"
    )
    assert caught.value.exit_code == 3
    assert capfd.readouterr().err == ""
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_opening_times_out_if_the_server_does_not_answer(capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = Source(SystemClock(), url=f"rtsp://127.0.0.1:{port}/live", open_timeout_s=0.5)
        started_s = time.monotonic()
        with pytest.raises(SourceError, match=r"127.0.0.1:\d+/live: cannot be opened: no answer within 0\.\d s"):
            source.read(1.0)
        assert time.monotonic() - started_s < 3.0
    assert capfd.readouterr().err == ""


def test_endless_redirects_end_at_the_timeout():
    def redirect(c):
        port = c.socket.getsockname()[1]
        c.send(b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:%d/x\r\n\r\n" % port)

    with HostilePeer(redirect, RTSP) as peer:
        source = Source(SystemClock(), url=f"rtsp://bob:c4nary@127.0.0.1:{peer.port}/x", open_timeout_s=0.5)
        started_s = time.monotonic()
        with pytest.raises(SourceError, match="cannot be opened") as caught:
            source.read(1.0)
        assert time.monotonic() - started_s < 3.0
    assert peer.connections > 1
    assert "c4nary" not in str(caught.value)


def stops(c):
    c.hold()


def trickles(c):
    while True:
        c.send(b"$")
        c.wait(0.2)


def sends_other_channels(c):
    while True:
        c.send(b"$\x09\xff\xff" + bytes(65535))


def sends_replies(c):
    while True:
        c.send(RTSP.status_line + b"CSeq: 1\r\nContent-Length: 2000000000\r\n\r\n" + bytes(65536))


def sends_noise(c):
    while True:
        c.send(bytes(range(256)) * 256)


@pytest.mark.parametrize("attack", [stops, trickles, sends_other_channels, sends_replies, sends_noise])
def test_a_camera_that_turns_hostile_while_it_plays_is_lost_in_time(attack):
    def play_then_attack(c):
        rtsp_peer.play(c, 1.0)
        attack(c)

    with HostilePeer(play_then_attack, RTSP) as peer:
        source = Source(SystemClock(), url=f"rtsp://127.0.0.1:{peer.port}/x", open_timeout_s=5.0, read_timeout_s=0.5)
        assert source.read(1.0).pixels.shape == (32, 32, 3)
        before_bytes = network.reset_peak()
        started_s = time.monotonic()
        with pytest.raises(SourceError, match=r"no frame for|the stream ended"):
            network.read_until_lost(source)
        source.close()
    assert time.monotonic() - started_s < 4.0
    assert network.peak_bytes() - before_bytes < 64 << 20
