"""http over TLS: a camera whose certificate is its own authority, made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from edge_app.clock import SystemClock
from edge_app.errors import OptionError, SourceError
from edge_app.sources.http import Source
from tests.sources.http_camera import Camera, open_source, part, read, stream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """One that is its own authority, and its key."""
    path = tmp_path_factory.mktemp("certificate") / "camera.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]
    names = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-days", "9", *key, *names, "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
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
