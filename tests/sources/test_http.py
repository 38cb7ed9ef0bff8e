"""http: streams and snapshots of a camera on loopback, incomplete images, and reconnecting."""

from __future__ import annotations

import random
import subprocess
import time
from itertools import pairwise

import pytest

from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import SystemClock
from edge_app.config import PluginConfig, SourceCommon, SourceConfig
from edge_app.errors import SourceError
from edge_app.sources.http import Source
from tests.running import free_port, is_listening
from tests.sources.http_camera import Camera, Handler, number_of, numbered, open_source, part, picture, read, stream


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
        handler.start_stream("multipart/x-mixed-replace;boundary=frame", chunked=True)
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


def test_a_stream_that_stalls_inside_a_chunk_is_an_error_with_its_cause():
    def answer(handler: Handler) -> None:
        handler.start_stream("multipart/x-mixed-replace;boundary=frame", chunked=True)
        data = part(0) + b"--frame\r\nContent-Type: text/plain\r\n\r\n" + b"a" * 20_000
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) + b"4")  # the size of the next chunk is incomplete
        handler.camera.go_on.acquire()

    with Camera(answer) as camera:
        source = open_source(camera, timeout_s=0.3)
        assert read(source) == 0
        with pytest.raises(SourceError, match=r"no complete image for 0\.3 s"):
            read(source)
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
def test_an_incomplete_image_is_dropped(length, caplog):
    cut = part(1, length=length, image=picture(1)[:-400])
    with Camera(stream(part(0, length=length), cut, part(2, length=length), cut, part(3))) as camera:
        source = open_source(camera)
        assert read(source) == 0
        for number in (2, 3):
            camera.go_on.release(2)
            assert read(source) == number
        source.close()
        assert caplog.messages == [f"http://{camera.address}/video: dropped an incomplete or damaged JPEG"]


@pytest.mark.parametrize("options", [{}, {"fps": 5.0}])
def test_a_rate_for_a_stream_is_ignored_with_one_line(options, caplog):
    with Camera(stream(*(part(n) for n in range(3)))) as camera:
        source = open_source(camera, **options)
        for number in range(3):
            assert read(source) == number
            camera.go_on.release()
        source.close()
    ignored = [message for message in caplog.messages if "ignored the option fps" in message]
    assert caplog.messages == ignored
    assert len(ignored) == len(options)


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
    """It serves one connection, and then ends."""
    port = free_port()
    command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", "60"]
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen([*command, "-f", "mpjpeg", "-listen", "1", url], stderr=subprocess.PIPE) as server:
        end_s = time.monotonic() + 30
        while not is_listening(port) and time.monotonic() < end_s:
            time.sleep(0.05)
        source = Source(SystemClock(), url=url, timeout_s=20.0)
        frames = [source.read(20.0) for _ in range(10)]
        source.close()
        server.kill()
    assert [frame.pixels.shape for frame in frames] == [(240, 320, 3)] * 10
    assert len({frame.pixels.tobytes() for frame in frames}) == 10
