"""The examples of edge_app/sinks/README.md run."""

import ctypes
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from edge_app.options import options_of
from edge_app.registry import find
from edge_app.sinks import _frames
from edge_app.sinks._frames import LinkFrame, Splitter, Type, pack, unpack
from edge_app.sinks.http import Sink as HttpSink
from edge_app.sinks.jsonl import Sink as JsonlSink
from edge_app.sinks.mqtt import Sink as MqttSink

README = (Path(_frames.__file__).parent / "README.md").read_text(encoding="utf-8")


def code(title, language):
    """The code block under a heading."""
    section = README.split(f"\n### {title}\n")[1].split("\n### ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def start(program, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stop(process):
    process.kill()
    process.communicate()


def test_the_options_in_the_example_exist():
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    for block in yaml.safe_load(example)["sinks"]:
        known = {option.name for option in options_of(find("sinks", block.pop("type")))}
        assert block.keys() <= known


def test_the_jsonl_consumer(tmp_path, context, message):
    sink = JsonlSink(context, path=tmp_path / "out")
    sink.send([message(1)])
    event = '{"kind":"event","type":"new","utc":"now","rule":"door","value":{"a":1}}\n'
    process = start(code("jsonl", "python"))
    out, _ = process.communicate((tmp_path / "out").read_text() + event, timeout=10)
    assert out == "now door {'a': 1}\n"


def test_the_http_consumer(context, message):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(code("http", "python"), str(port))
    sink = HttpSink(context, url=f"http://127.0.0.1:{port}/")
    end = time.monotonic() + 10
    while True:
        try:
            sink.send([message(1), message(2)])
            break
        except Exception:  # noqa: BLE001  it is still starting
            assert time.monotonic() < end
            time.sleep(0.05)
    sink.send([message(1), message(2)])
    sink.send([message(3)])
    assert [process.stdout.readline() for _ in range(3)] == ["status 1\n", "status 2\n", "status 3\n"]
    stop(process)
    sink.close()


@pytest.mark.system
def test_the_mqtt_consumer(context, message, broker):
    process = start(code("mqtt", "python"), "127.0.0.1", str(broker.port))
    sink = MqttSink(context, host="127.0.0.1", port=broker.port)
    time.sleep(1.0)
    event = message(1, "event", rule="door")
    sink.send([event, event, message(2, "event", rule="door")])
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines == ["edge-app/cam-1/event/door 1\n", "edge-app/cam-1/event/door 2\n"]
    stop(process)
    sink.close()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here")
def test_the_serial_receiver_in_c(tmp_path):
    """Compiled with all warnings, and driven frame by frame, damaged frames included."""
    (tmp_path / "mcu.c").write_text(
        code("serial", "c")
        + "\ntypedef void (*taker)(const uint8_t *, unsigned);\nstatic taker put_, message_;\n"
        + "void set(taker p, taker m) { put_ = p; message_ = m; }\n"
        + "void uart_put(const uint8_t *d, unsigned n) { put_(d, n); }\n"
        + "void message(const uint8_t *d, unsigned n) { message_(d, n); }\n"
    )
    library = tmp_path / "mcu.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-fsanitize=undefined", "-static-libubsan"]
    subprocess.run(["gcc", *flags, "-shared", "-fPIC", "-o", library, tmp_path / "mcu.c"], check=True)
    mcu = ctypes.CDLL(str(library))
    taker = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint)
    wire, messages = bytearray(), []
    callbacks = (taker(lambda d, n: wire.extend(d[:n])), taker(lambda d, n: messages.append(bytes(d[:n]))))
    mcu.set(*callbacks)

    def exchange(data):
        wire.clear()
        for byte in data:
            mcu.uart_byte(byte)
        return [(frame.type, frame.seq) for frame in map(unpack, Splitter(64).feed(bytes(wire)))]

    payload = bytes(range(256)) * 4
    assert exchange(pack(LinkFrame(Type.DATA, 9, b"early"))) == [(Type.NAK, 0)], "no HELLO yet"
    assert exchange(pack(LinkFrame(Type.HELLO, 0xFFFF, b"cam"))) == [(Type.ACK, 0xFFFF)]
    assert exchange(pack(LinkFrame(Type.DATA, 0, payload))) == [(Type.ACK, 0)]
    assert exchange(pack(LinkFrame(Type.DATA, 0, payload))) == [(Type.ACK, 0)], "acknowledged, not delivered again"
    damaged = bytearray(pack(LinkFrame(Type.DATA, 1, b"{}" * 50)))
    damaged[20] ^= 4
    assert exchange(bytes(damaged)) == [(Type.NAK, 0)]
    assert exchange(b"x" * 10_000 + b"\0") == [(Type.NAK, 0)], "a frame that is too long"
    assert exchange(pack(LinkFrame(Type.DATA, 5, b"skipped"))) == [(Type.NAK, 0)]
    assert exchange(pack(LinkFrame(Type.DATA, 1, b"{}"))) == [(Type.ACK, 1)]
    assert messages == [payload, b"{}"]
