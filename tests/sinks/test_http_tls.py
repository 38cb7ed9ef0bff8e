"""The HTTP sink over TLS, with certificates made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from edge_app.clock import ClipClock
from edge_app.errors import ConfigError, SinkError
from edge_app.sinks import SinkContext
from edge_app.sinks.http import Sink
from tests.sinks.http_server import Server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem, other-ca.pem, and <name>.pem / .key: server, elsewhere, expired, future, client."""
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other-ca"):
        run(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
            "-subj",
            f"/CN={ca}",
        )
    dates = {"expired": ("20200101000000Z", "20200201000000Z"), "future": ("20400101000000Z", "20410101000000Z")}
    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndir=.\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n"
        "policy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n"
    )
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    for name in ("server", "elsewhere", "expired", "future", "client"):
        host = "DNS:elsewhere.example" if name == "elsewhere" else "IP:127.0.0.1"
        run(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName={host}",
        )
        start, end = dates.get(name, ("20240101000000Z", "20391231000000Z"))
        run(
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.conf",
            "-cert",
            "ca.pem",
            "-keyfile",
            "ca.key",
            "-in",
            f"{name}.csr",
            "-out",
            f"{name}.pem",
            "-startdate",
            start,
            "-enddate",
            end,
        )
    return folder


@pytest.fixture
def secure(certificates):
    servers = []

    def start(name="server", client_ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        if client_ca:
            context.load_verify_locations(certificates / client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        servers.append(Server(context))
        return f"https://127.0.0.1:{servers[-1].port}/"

    yield start
    for server in servers:
        server.close()


def test_tls_with_a_private_authority(context, message, secure, certificates):
    sink = Sink(context, url=secure(), ca=certificates / "ca.pem")
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()


def test_tls_with_a_client_certificate(context, message, secure, certificates):
    url = secure(client_ca="ca.pem")
    ours = {"cert": certificates / "client.pem", "key": certificates / "client.key"}
    sink = Sink(context, url=url, ca=certificates / "ca.pem", **ours)
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()
    with pytest.raises(SinkError) as error:
        Sink(context, url=url, ca=certificates / "ca.pem").send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize(
    ("name", "ca", "reason"),
    [
        ("server", "other-ca.pem", "is not trusted"),
        ("server", None, "is not trusted"),
        ("elsewhere", "ca.pem", "is for another host"),
        ("expired", "ca.pem", "has expired"),
        ("future", "ca.pem", "is not yet valid"),
    ],
)
def test_the_server_is_always_verified(context, message, secure, certificates, name, ca, reason):
    sink = Sink(context, url=secure(name), ca=ca and certificates / ca)
    with pytest.raises(SinkError, match=reason) as error:
        sink.send([message(1)])
    assert error.value.retry


def test_an_unset_clock_is_named_as_the_reason(message, secure, certificates):
    sink = Sink(SinkContext("cam-1", "sink", ClipClock()), url=secure("future"), ca=certificates / "ca.pem")
    with pytest.raises(SinkError, match=r"the local clock is not set \(1970-01-01\)$"):
        sink.send([message(1)])


def test_rejects_certificates_that_do_not_match(context, certificates):
    url = "https://127.0.0.1/"
    with pytest.raises(ConfigError, match="does not belong to"):
        Sink(context, url=url, cert=certificates / "client.pem", key=certificates / "server.key")
    with pytest.raises(ConfigError, match="No such file"):
        Sink(context, url=url, ca=Path("/none.pem"))
    with pytest.raises(ConfigError, match="expected both or neither"):
        Sink(context, url=url, cert=certificates / "client.pem")
