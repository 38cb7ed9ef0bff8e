"""The MQTT sink, with a broker that misbehaves and (system) with a real Mosquitto."""

import subprocess

import pytest

from edge_app.clock import SystemClock
from edge_app.errors import ConfigError, SinkError
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext
from edge_app.sinks.mqtt import Sink
from tests.sinks.mqtt_broker import Subscriber, sink_on, until


def test_times_out_without_acknowledgments(context, message, fake):
    broker = fake()
    sink = sink_on(broker, context, window=10)
    batch = [message(n) for n in range(50)]
    with pytest.raises(SinkError, match=r"no acknowledgment in 0.3 s") as error:
        sink.send(batch)
    assert error.value.retry
    assert len(broker.published) == 10, "no more than the window"


def test_returns_only_acknowledged_messages(context, message, fake):
    broker = fake(acks=4)  # the first is for `available`
    sink = sink_on(broker, context)
    assert sink.send([message(n) for n in range(9)]) == {"cam-1-0", "cam-1-1", "cam-1-2"}
    broker.acks = 100
    assert len(sink.send([message(n) for n in range(3, 9)])) == 6
    assert len(broker.connects) == 2, "a new connection, without leftovers of the last one"
    sink.close()


def test_a_broker_that_does_not_respond(context, message, fake):
    with pytest.raises(SinkError, match="the broker does not answer") as error:
        sink_on(fake(code=None), context).send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize(("code", "reason"), [(5, "not authori"), (4, "user ?name or password"), (3, "unavailable")])
def test_a_refused_login_has_the_broker_s_reason(context, message, fake, code, reason):
    with pytest.raises(SinkError, match=f"(?i)the broker refused: .*{reason}") as error:
        sink_on(fake(code=code), context).send([message(1)])
    assert error.value.retry


def test_connection_refused(context, message):
    sink = Sink(context, host="127.0.0.1", port=9)
    for attempt in (sink.idle, lambda: sink.send([message(1)])):
        with pytest.raises(SinkError, match=r"127\.0\.0\.1:9: Connection refused"):
            attempt()
    sink.close()


def test_a_server_that_is_not_a_broker(context, message, fake):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(SinkError):
            Sink(context, host="127.0.0.1", port=server.server_address[1], ack_timeout_s=0.3).send([message(1)])
        thread.join()


@pytest.mark.parametrize("prefix", ["a/+/b", "a#", "", "/a", "a/", "$SYS/a", "a\0b"])
def test_rejects_a_prefix_that_is_not_a_topic(context, prefix):
    with pytest.raises(ConfigError, match="prefix: found"):
        Sink(context, host="h", prefix=prefix)


def test_rejects_a_rule_name_that_is_not_a_topic_level(context, message, fake):
    with pytest.raises(ConfigError, match=r"rule 'a/b': expected a name without"):
        Sink(SinkContext("cam-1", "sink", SystemClock(), {"a/b": "zone"}), host="h")
    sink = sink_on(fake(acks=100), context)
    with pytest.raises(SinkError, match="cannot be part of a topic") as error:
        sink.send([message(1, "event", rule="a#b")])
    assert not error.value.retry
    sink.close()


def test_rejects_certificates_without_tls(context, tmp_path):
    with pytest.raises(ConfigError, match="expected tls: true"):
        Sink(context, host="h", ca=tmp_path)


def test_the_password_is_sent_and_never_printed(context, message, fake, tmp_path, caplog):
    (tmp_path / "word").write_text("hunter2\n")
    broker = fake(code=5)
    sink = sink_on(broker, context, username="cam", password=Secret("file", str(tmp_path / "word")))
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    assert broker.connects[0].endswith(b"\x00\x03cam\x00\x07hunter2")
    assert "hunter2" not in str(error.value) + caplog.text


@pytest.mark.system
def test_messages_reach_a_real_broker(context, message, broker):
    watcher = Subscriber(broker.port)
    sink = sink_on(broker, context, ack_timeout_s=5)
    batch = [message(1), message(2, "event", rule="door"), message(3)]
    assert sink.send(batch) == {"cam-1-1", "cam-1-2", "cam-1-3"}
    until(lambda: len(watcher.got) == 4)
    assert [topic for topic, _, _ in watcher.got] == [
        "edge-app/cam-1/available",
        "edge-app/cam-1/status",
        "edge-app/cam-1/event/door",
        "edge-app/cam-1/status",
    ]
    assert [payload for _, payload, _ in watcher.got[1:]] == [m.payload for m in batch]
    sink.close()
    until(lambda: watcher.got[-1] == ("edge-app/cam-1/available", b"offline", False))
    watcher.close()


@pytest.mark.system
def test_the_last_will_and_a_reconnect(context, message, broker):
    sink = sink_on(broker, context, ack_timeout_s=5)
    sink.idle()
    watcher = Subscriber(broker.port, "edge-app/+/available")
    until(lambda: watcher.got == [("edge-app/cam-1/available", b"online", True)])
    sink._connection._client.socket().shutdown(2)  # like a cable that is cut
    until(lambda: watcher.got[-1][1] == b"offline")
    with pytest.raises(SinkError, match="the connection was lost"):
        until(sink.idle)
    sink.idle()
    until(lambda: watcher.got[-1][1] == b"online")
    sink.close()
    watcher.close()


@pytest.mark.system
def test_reconnects_after_a_broker_restart(context, message, broker):
    sink = sink_on(broker, context, ack_timeout_s=5)
    sink.send([message(1)])
    broker.stop()
    with pytest.raises(SinkError):
        sink.send([message(2)])
    with pytest.raises(SinkError, match="Connection refused"):
        sink.send([message(2)])
    broker.start()
    assert sink.send([message(2)]) == {"cam-1-2"}
    sink.close()


@pytest.mark.system
def test_tls_with_a_client_certificate(context, message, tmp_path, broker):
    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *key, "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "ext",
            "-out",
            f"{name}.pem",
        )
        (tmp_path / f"{name}.key").chmod(0o644)
    tmp_path.chmod(0o755)
    broker.stop()
    broker.config.write_text(
        f"listener {broker.port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n"
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\nuser root\n"
    )
    broker.start()
    ours = {"cert": tmp_path / "client.pem", "key": tmp_path / "client.key"}
    sink = sink_on(broker, context, tls=True, ca=tmp_path / "ca.pem", ack_timeout_s=5, **ours)
    assert sink.send([message(1)]) == {"cam-1-1"}
    sink.close()
    with pytest.raises(SinkError):
        sink_on(broker, context, tls=True, ca=tmp_path / "ca.pem", ack_timeout_s=5).send([message(1)])
