"""Admission: reverse proxies, dashboards, and tokens that do not belong into a URL."""

from __future__ import annotations

import base64
import logging

import pytest

from edge_app.config.services import WebConfig
from edge_app.options.secret import Secret

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web.server import PageServer
from tests.web.conftest import TOKEN, ask, page_data


@pytest.fixture
def serving(tmp_path):
    """`serving(guarded=True, **options)`: a running page with these options."""
    running = []

    def serve(*, guarded: bool = False, **options) -> PageServer:
        (tmp_path / "token").write_text(TOKEN, encoding="ascii")
        token = Secret("file", str(tmp_path / "token")) if guarded else None
        running.append(PageServer(WebConfig(enabled=True, port=0, token=token, **options), page_data()))
        return running[-1]

    yield serve
    for page in running:
        page.close()


def basic(token: str) -> str:
    return f"Basic {base64.b64encode(f'dashboard:{token}'.encode()).decode()}"


def test_allowed_hosts_are_admitted_and_others_rejected(serving):
    page = serving(allowed_hosts=("Cam.example",))
    assert ask(page, "/api/status", Host="cam.example")[0] == 200
    assert ask(page, "/api/status", Host="CAM.example:8443")[0] == 200
    assert ask(page, "/api/status", Host="localhost")[0] == 200
    status, _, body = ask(page, "/api/status", Host="evil.example")
    assert status == 403
    assert b"cam.example" in body


def test_allowed_hosts_apply_with_a_token_too(serving):
    page = serving(guarded=True, allowed_hosts=("cam.example",))
    bearer = f"Bearer {TOKEN}"
    assert ask(page, "/api/status", Host="cam.example", Authorization=bearer)[0] == 200
    assert ask(page, "/api/status", Host="evil.example", Authorization=bearer)[0] == 403
    assert ask(serving(guarded=True), "/api/status", Host="any.example", Authorization=bearer)[0] == 200


def test_an_allowed_origin_is_admitted_behind_a_proxy_that_changes_the_host(serving):
    page = serving(allowed_hosts=("cam.example",))
    assert ask(page, "/api/status", Origin="https://cam.example", Host="127.0.0.1:8080")[0] == 200
    assert ask(page, "/api/status", Origin="https://evil.example", Host="127.0.0.1:8080")[0] == 403
    assert ask(page, "/api/status", Origin="null", Host="127.0.0.1:8080")[0] == 403


@pytest.mark.parametrize("prefix", ["", "/home/cam"])
def test_a_proxy_may_keep_or_remove_the_base_path(serving, prefix):
    page = serving(guarded=True, base_path="/home/cam")
    assert ask(page, f"{prefix}/")[0] == 200
    assert b"import" in ask(page, f"{prefix}/page.js")[2]
    assert ask(page, f"{prefix}/api/status")[0] == 401
    status, headers, _ = ask(page, f"{prefix}/api/login", "POST", TOKEN)
    assert status == 200
    assert "Path=/home/cam" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert ask(page, f"{prefix}/api/status", Cookie=cookie)[0] == 200
    assert "Path=/home/cam" in ask(page, f"{prefix}/api/logout", "POST", Cookie=cookie)[1]["Set-Cookie"]


@pytest.mark.parametrize("guarded", [False, True])
def test_the_base_path_is_completed_by_a_slash_and_no_other_path_is_served(serving, guarded):
    page = serving(base_path="/cam", guarded=guarded)
    status, headers, _ = ask(page, "/cam")
    assert (status, headers["Location"]) == (308, "/cam/")
    assert ask(page, "/camera/")[0] == (401 if guarded else 404)
    assert ask(page, "/cam/cam/")[0] == (401 if guarded else 404)


def test_only_frame_ancestors_may_frame_the_page(serving):
    policy = ask(serving(), "/")[1]["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    headers = ask(serving(frame_ancestors=("https://home.example:8123", "self")), "/")[1]
    assert "frame-ancestors https://home.example:8123 'self';" in headers["Content-Security-Policy"]
    assert "Cross-Origin-Resource-Policy" not in headers
    assert ask(serving(), "/")[1]["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_session_of_a_framed_page_reaches_other_sites_only_by_https(serving):
    page = serving(guarded=True, frame_ancestors=("https://home.example",))
    assert "SameSite=Strict" in ask(page, "/api/login", "POST", TOKEN)[1]["Set-Cookie"]
    cookie = ask(page, "/api/login", "POST", TOKEN, X_Forwarded_Proto="https")[1]["Set-Cookie"]
    assert "SameSite=None" in cookie
    assert "Secure" in cookie
    plain = serving(guarded=True)
    assert "SameSite=Strict" in ask(plain, "/api/login", "POST", TOKEN, X_Forwarded_Proto="https")[1]["Set-Cookie"]


@pytest.mark.parametrize("path", ["/snapshot.jpg", "/stream.mjpg"])
def test_dashboards_send_the_token_as_a_basic_password_and_only_for_images(guarded, path):
    status, headers, _ = ask(guarded, path, "HEAD")
    assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
    assert ask(guarded, path, "HEAD", Authorization=basic("a wrong token"))[0] == 401
    assert ask(guarded, path, "HEAD", Authorization="Basic \xff")[0] == 401
    assert ask(guarded, path, "HEAD", Authorization=basic(TOKEN))[0] == 200
    status, headers, _ = ask(guarded, "/api/status", Authorization=basic(TOKEN))
    assert status == 401
    assert "WWW-Authenticate" not in headers, "the browser would open a dialog over the login form"


def test_wrong_basic_passwords_count_as_guesses(guarded):
    answers = [ask(guarded, "/snapshot.jpg", "HEAD", Authorization=basic(f"guess {n}"))[0] for n in range(6)]
    assert answers == [401] * 5 + [429]


@pytest.mark.parametrize("name", ["token", "access_token", "auth", "password"])
def test_a_token_in_the_url_is_rejected_and_not_logged(guarded, caplog, name):
    caplog.set_level(logging.DEBUG)
    secret = TOKEN.replace(" ", "%20")
    for path in (f"/?{name}={secret}", f"/stream.mjpg?{name}={secret}", f"/api/status?a=b&{name}={secret}"):
        status, _, body = ask(guarded, path, Authorization=f"Bearer {TOKEN}")
        assert status == 400
        assert b"expected Authorization" in body
        assert TOKEN.encode() not in body
    assert secret not in caplog.text
    assert TOKEN not in caplog.text


def test_a_malformed_request_with_a_token_in_its_url_is_not_quoted_in_the_log(guarded, caplog):
    import socket

    caplog.set_level(logging.DEBUG)
    secret = TOKEN.replace(" ", "%20")
    for line in (f"GET /?token={secret} HTTP/9", f"GET http://[?token={secret} HTTP/1.1", f"G\xff /?token={secret} x"):
        with socket.create_connection(("127.0.0.1", guarded.port), timeout=5) as connection:
            connection.sendall(f"{line}\r\nHost: localhost\r\n\r\n".encode("latin-1"))
            assert b" 400 " in connection.recv(65536)
    assert secret not in caplog.text
