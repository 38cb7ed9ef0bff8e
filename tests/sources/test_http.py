"""http: streams and snapshots of a camera on loopback, its login, redirects, TLS, limits and reconnecting."""

from __future__ import annotations

import hashlib
import random
import re
import ssl
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import SystemClock
from edge_app.config import PluginConfig, SourceCommon, SourceConfig
from edge_app.errors import OptionError, SourceError
from edge_app.options import Secret
from edge_app.sources.http import Source
from tests.hostile_peers import Connection, HostilePeer, never_answers
from tests.running import free_port
from tests.sources import network
from tests.sources.http_camera import HEIGHT, WIDTH, Camera, Handler, number_of, picture

LOGIN = "bob:p%40ss"


def open_source(camera, path="/video", login="", **options):
    login = f"{login}@" if login else ""
    return Source(SystemClock(), url=f"http://{login}{camera.address}{path}", **{"timeout_s": 2.0, **options})


def read(source):
    """The next frame, as its number."""
    end_s = time.monotonic() + 5.0
    while time.monotonic() < end_s:
        frame = source.read(0.1)
        if frame is not None:
            assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
            return number_of(frame.pixels)
    raise AssertionError("no frame")


def stream(*parts, content_type="multipart/x-mixed-replace; boundary=frame"):
    """An answer that sends a part whenever the test lets it go on."""

    def answer(handler: Handler) -> None:
        handler.start_stream(content_type)
        for part in parts:
            handler.wfile.write(part)
            handler.camera.go_on.acquire()

    return answer


def part(number, end=b"\r\n", line=b"--frame", *, length=True, image=None):
    image = picture(number) if image is None else image
    size = b"Content-Length: %d%s" % (len(image), end) if length else b""
    return line + end + b"Content-Type: image/jpeg" + end + size + end + image + end


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
@pytest.mark.parametrize(("end", "line"), [(b"\r\n", b"--frame"), (b"\n", b"--frame"), (b"\r\n", b"frame")])
def test_every_image_of_a_stream_is_delivered_when_it_has_arrived(end, line, length):
    with Camera(stream(*(part(n, end, line, length=length) for n in range(5)))) as camera:
        source = open_source(camera)
        for number in range(5):
            before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            frame = source.read(1.0)
            assert frame is not None
            assert (number_of(frame.pixels), frame.sequence, frame.source) == (number, number, "http")
            assert before_ns <= frame.captured_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            camera.go_on.release()
        source.close()


def test_a_chunked_stream_is_read():
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for number in range(3):
            data = part(number)
            for at in range(0, len(data), 1000):
                piece = data[at : at + 1000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.camera.go_on.acquire()

    with Camera(answer) as camera:
        source = open_source(camera)
        for number in range(3):
            assert read(source) == number
            camera.go_on.release()
        source.close()


def test_only_the_last_of_the_images_that_wait_is_decoded():
    with Camera(stream(part(0), b"".join(part(n) for n in range(1, 40)), part(40))) as camera:
        source = open_source(camera)
        assert read(source) == 0
        camera.go_on.release()
        time.sleep(0.2)  # all have arrived
        assert read(source) == 39
        camera.go_on.release()
        assert read(source) == 40
        source.close()


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_an_incomplete_image_is_dropped(length):
    cut = part(1, length=length, image=picture(1)[:-400])
    with Camera(stream(part(0, length=length), cut, part(2, length=length))) as camera:
        source = open_source(camera)
        assert read(source) == 0
        camera.go_on.release(2)
        assert read(source) == 2
        source.close()


def test_the_end_of_a_stream_is_an_error():
    with Camera(lambda handler: (handler.start_stream(), handler.send_part(picture(1)))) as camera:
        source = open_source(camera)
        assert read(source) == 1
        with pytest.raises(SourceError, match="the stream ended; expected a live stream"):
            read(source)
        source.close()


def test_a_stream_that_stalls_is_an_error_after_the_time_of_one_image():
    with Camera(stream(part(0), part(1) + part(2)[:1000])) as camera:
        source = open_source(camera, timeout_s=0.3)
        assert read(source) == 0
        time.sleep(0.35)  # time between reads does not count
        camera.go_on.release()
        assert read(source) == 1
        with pytest.raises(SourceError, match=r"no complete image for 0\.3 s"):
            read(source)
        source.close()


def endless_part(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n--x\r\n\r\n")
    c.send(picture(1)[:-2])
    while True:
        c.send(b"a" * 65536)


def endless_text(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n")
    c.send(b"--x\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        c.send(b"a" * 65536)


def endless_preamble(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\nhello\r\n")
    while True:
        c.send(b"-x" * 32768)


def image_by_the_byte(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n--x\r\n\r\n")
    for byte in picture(1):
        c.send(bytes([byte]))
        c.wait(0.05)


def endless_chunk_size(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n")
    c.send(b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        c.send(b"0" * 65536)


def endless_snapshot(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Type: image/jpeg\r\n\r\n" + picture(1)[:-2])
    while True:
        c.send(b"a" * 65536)


@pytest.mark.parametrize(
    "attack",
    [endless_part, endless_text, endless_preamble, image_by_the_byte, endless_chunk_size, endless_snapshot],
    ids=lambda attack: attack.__name__,
)
def test_a_hostile_stream_ends_in_time_and_memory_is_bounded(attack):
    with HostilePeer(attack) as peer:
        source = network.open_source("http", f"127.0.0.1:{peer.port}/")
        before_bytes, started_s = network.reset_peak(), time.monotonic()
        with pytest.raises(SourceError) as caught:
            network.read_until_lost(source)
        source.close()
        assert time.monotonic() - started_s < source.live.hang_after_s
    assert network.peak_bytes() - before_bytes < 40 << 20
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["stream", "snapshot"])
def test_an_image_beyond_the_size_limit_is_an_error(kind):
    def answer(handler: Handler) -> None:
        if kind == "snapshot":
            handler.reply(200, picture(1), Content_Type="image/jpeg")
            return
        handler.start_stream()
        handler.send_part(picture(1))

    with Camera(answer) as camera:
        source = open_source(camera, max_bytes=2000)
        with pytest.raises(SourceError, match="max_bytes"):
            read(source)
        source.close()


def test_an_image_with_too_many_pixels_is_an_error():
    image = bytearray(picture(1))
    at = re.search(rb"\xff\xc0", image).start()
    image[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"
    with Camera(lambda handler: handler.reply(200, bytes(image), Content_Type="image/jpeg")) as camera:
        source = open_source(camera)
        with pytest.raises(SourceError, match="has 65500 x 65500 pixels; expected at most"):
            read(source)
        source.close()


def numbered(handler: Handler) -> None:
    number = len(handler.camera.requests) - 1
    handler.reply(200, picture(number), Content_Type="image/jpeg")


def test_a_snapshot_is_requested_at_the_rate_on_one_connection():
    with Camera(numbered) as camera:
        source = open_source(camera, "/snap.jpg?channel=1", fps=20.0)
        started_s = time.monotonic()
        assert [read(source) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert time.monotonic() - started_s >= 4 / 20 - 0.01
        source.close()
    assert camera.connections == 1
    assert {path for path, _ in camera.requests} == {"/snap.jpg?channel=1"}


def test_no_frame_is_due_before_the_next_request():
    with Camera(numbered) as camera:
        source = open_source(camera, fps=0.01)
        assert read(source) == 0
        assert source.read(0.05) is None
        assert len(camera.requests) == 1
        assert source.live.silent_after_s > 100
        source.close()


@pytest.mark.parametrize("announced", [True, False])
def test_a_server_may_close_the_connection_between_snapshots(announced):
    def answer(handler: Handler) -> None:
        numbered(handler) if not announced else handler.reply(
            200, picture(len(handler.camera.requests) - 1), Content_Type="image/jpeg", Connection="close"
        )
        handler.close_connection = True

    with Camera(answer) as camera:
        source = open_source(camera, fps=50.0)
        assert [read(source) for _ in range(3)] == [0, 1, 2]
        source.close()
    assert camera.connections == 3


def test_an_incomplete_snapshot_is_dropped(caplog):
    def answer(handler: Handler) -> None:
        number = len(handler.camera.requests) - 1
        image = picture(number) if number % 2 else picture(number)[:-200]
        handler.reply(200, image, Content_Type="image/jpeg")

    with Camera(answer) as camera:
        source = open_source(camera, fps=50.0)
        assert [read(source) for _ in range(3)] == [1, 3, 5]
        source.close()
    assert caplog.text.count("dropped an incomplete or damaged JPEG") == 1


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (200, {"Content_Type": "text/html"}, "found text/html; expected a JPEG or a stream of JPEGs"),
        (200, {"Content_Type": "c4nary/c4nary"}, "found an unknown type; expected a JPEG"),
        (404, {}, "the server answered 404 Not Found"),
        (503, {}, "the server answered 503 Service Unavailable"),
        (401, {"WWW_Authenticate": "Basic realm=x"}, "401 Unauthorized; expected username and password"),
        (302, {"Location": "http://[::1"}, "redirects to an invalid address"),
    ],
)
def test_an_answer_without_an_image_is_one_line(status, headers, text):
    with Camera(lambda handler: handler.reply(status, b"<html>", **headers)) as camera:
        source = open_source(camera)
        with pytest.raises(SourceError, match=re.escape(text)):
            read(source)
        source.close()


class DigestServer:
    """Asks for a login by Digest. nonces: of the server, the last one is valid. Checks with the formula of RFC 7616."""

    def __init__(self, algorithm="MD5", stale="", lifetime=1000):
        self.algorithm, self.stale, self.lifetime = algorithm, stale, lifetime
        self.nonce, self.used, self.seen = "n1", 0, set()

    def challenge(self):
        self.used, self.nonce = 0, f"n{int(self.nonce[1:]) + 1}"
        return f'Digest realm="cam", nonce="{self.nonce}", algorithm={self.algorithm}, qop="auth"{self.stale}'

    def admits(self, handler):
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', handler.headers.get("Authorization", "")))
        if given.get("nonce") != self.nonce or self.used >= self.lifetime or (given["nonce"], given["nc"]) in self.seen:
            return False
        self.seen.add((given["nonce"], given["nc"]))
        self.used += 1
        secret = self.hashed("bob", "cam", "p@ss")
        if self.algorithm.endswith("-sess"):
            secret = self.hashed(secret, given["nonce"], given["cnonce"])
        middle = given["nonce"], given["nc"], given["cnonce"], "auth"
        return given["response"] == self.hashed(secret, *middle, self.hashed("GET", handler.path))

    def hashed(self, *parts):
        function = hashlib.sha256 if self.algorithm.startswith("SHA") else hashlib.md5
        return function(":".join(parts).encode()).hexdigest()

    def __call__(self, handler: Handler) -> None:
        if self.admits(handler):
            numbered(handler)
        else:
            handler.reply(401, WWW_Authenticate=self.challenge())


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess", "SHA-256-sess"])
def test_logs_in_by_digest_once_for_many_snapshots(algorithm):
    with Camera(DigestServer(algorithm)) as camera:
        source = open_source(camera, "/a?b=c", LOGIN, fps=50.0)
        assert [read(source) for _ in range(3)] == [1, 2, 3]
        source.close()
    assert [login is None for _, login in camera.requests] == [True, False, False, False]


@pytest.mark.parametrize("stale", ["", ", stale=true"])
def test_renews_a_nonce_that_the_server_no_longer_accepts(stale):
    with Camera(DigestServer(stale=stale, lifetime=2)) as camera:
        source = open_source(camera, login=LOGIN, fps=50.0)
        assert [read(source) for _ in range(5)] == [1, 2, 4, 5, 7]
        source.close()


@pytest.mark.parametrize("stale", ["", ", stale=true"])
def test_a_wrong_password_is_an_error_after_few_requests(stale):
    with Camera(DigestServer(stale=stale)) as camera:
        source = open_source(camera, login="bob:wrong")
        with pytest.raises(SourceError, match=r"check the user and password|redirects or logins") as caught:
            read(source)
        source.close()
    assert len(camera.requests) <= 6
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("way", ["url", "options", "file"])
def test_logs_in_to_a_stream_by_basic(way, tmp_path):
    (tmp_path / "word").write_text("p@ss\n")
    (tmp_path / "login").write_text("bob:p@ss\n")
    options = {
        "url": {"login": LOGIN},
        "options": {"username": "bob", "password": Secret.parse("file:word", tmp_path)},
        "file": {"credentials": tmp_path / "login"},
    }[way]

    def answer(handler: Handler) -> None:
        if handler.headers.get("Authorization") == "Basic Ym9iOnBAc3M=":
            stream(part(7))(handler)
        else:
            handler.reply(401, WWW_Authenticate='Basic realm="cam"')

    with Camera(answer) as camera:
        source = open_source(camera, **options)
        assert read(source) == 7
        source.close()


def test_a_redirect_is_followed_on_the_same_host_only():
    def answer(handler: Handler) -> None:
        if handler.path == "/new?x=1":
            numbered(handler)
        else:
            handler.reply(302, Location=f"http://u:p@127.0.0.1:{handler.camera.port}/new?x=1#top")

    with Camera(answer) as camera:
        source = open_source(camera, "/old")
        assert read(source) == 1
        source.close()


@pytest.mark.parametrize("other", ["http://127.0.0.2:PORT/", "http://127.0.0.1:PORT/", "//localhost:PORT/", "ftp://x/"])
def test_a_redirect_to_another_server_is_an_error_and_nothing_is_sent_there(other):
    with HostilePeer(never_answers) as elsewhere:
        location = other.replace("PORT", str(elsewhere.port))
        with Camera(lambda handler: handler.reply(302, Location=location)) as camera:
            source = open_source(camera, login=LOGIN)
            with pytest.raises(SourceError, match=r"redirects to (another host|http, port \d+|an invalid address);"):
                read(source)
            source.close()
        assert elsewhere.connections == 0


def test_redirects_without_end_are_an_error():
    with Camera(lambda handler: handler.reply(302, Location=handler.path + "a")) as camera:
        source = open_source(camera)
        with pytest.raises(SourceError, match="found 6 redirects or logins"):
            read(source)
        source.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """One that is its own authority, and its key."""
    path = tmp_path_factory.mktemp("certificate") / "camera.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
    ]
    names = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def secure_camera(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Camera(stream(part(0), part(1)), context) as camera:
        yield camera


def test_https_is_verified(secure_camera):
    url = f"https://{secure_camera.address}/"
    unknown = Source(SystemClock(), url=url)
    with pytest.raises(SourceError, match="the certificate is not trusted"):
        read(unknown)
    unknown.close()


@pytest.mark.parametrize("verify", [True, False])
def test_reads_a_stream_over_https(secure_camera, certificate, verify):
    options = {"ca": Path(f"{certificate}.crt")} if verify else {"verify": False}
    source = Source(SystemClock(), url=f"https://{secure_camera.address}/", **options)
    assert read(source) == 0
    secure_camera.go_on.release()
    assert read(source) == 1
    source.close()


def test_http_may_redirect_to_https_but_not_back(secure_camera, certificate):
    location = f"https://{secure_camera.address}/"
    with Camera(lambda handler: handler.reply(301, Location=location)) as camera:
        source = open_source(camera, ca=Path(f"{certificate}.crt"))
        assert read(source) == 0
        source.close()
        secure_camera.answer = lambda handler: handler.reply(301, Location=f"http://{camera.address}/")
        back = Source(SystemClock(), url=location, verify=False)
        with pytest.raises(SourceError, match=r"redirects to http, port \d+; expected the final address"):
            read(back)
        back.close()


def test_rejects_an_authority_that_is_not_used(tmp_path):
    with pytest.raises(OptionError, match="together with verify: false"):
        Source(SystemClock(), url="https://cam/", ca=tmp_path / "ca.pem", verify=False)


def test_capture_reconnects_after_the_stream_ends_and_after_it_stalls():
    def answer(handler: Handler) -> None:
        number = len(handler.camera.requests)
        handler.start_stream()
        handler.send_part(picture(number))
        if number % 2:  # the others end
            handler.camera.go_on.acquire()

    with Camera(answer) as camera:
        options = {"url": f"http://{camera.address}/", "timeout_s": 0.2}
        config = SourceConfig(SourceCommon("yard", connect="retry"), PluginConfig("http", options, "config.yaml:1"))
        with Capture(config, SystemClock(), backoff=Backoff(0.01, 0.02), rng=random.Random(1)) as capture:
            frames, end_s = [], time.monotonic() + 10
            while len(frames) < 5 and time.monotonic() < end_s:
                frame = capture.read(0.1)
                frames += [frame] if frame else []
            stats = capture.stats()
    assert [number_of(frame.pixels) for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert all(a.captured_ns < b.captured_ns for a, b in pairwise(frames))
    assert stats.reconnects == 4


@pytest.mark.system
def test_reads_the_stream_of_ffmpeg():
    port = free_port()
    command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", "5"]
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen([*command, "-f", "mpjpeg", "-listen", "1", url], stderr=subprocess.PIPE) as server:
        end_s = time.monotonic() + 10
        frames = []
        while len(frames) < 10 and time.monotonic() < end_s:
            source = Source(SystemClock(), url=url)
            try:
                frames += [source.read(1.0) for _ in range(10)]
            except SourceError:
                time.sleep(0.1)  # ffmpeg does not listen yet
            source.close()
        server.kill()
    assert [frame.pixels.shape for frame in frames] == [(240, 320, 3)] * 10
    assert len({frame.pixels.tobytes() for frame in frames}) == 10
