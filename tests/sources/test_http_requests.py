"""http: login, redirects, and answers without an image."""

from __future__ import annotations

import hashlib
import re

import pytest

from edge_app.errors import SourceError
from edge_app.options import Secret
from tests.hostile_peers import HostilePeer, never_answers
from tests.sources.http_camera import Camera, Handler, numbered, open_source, part, read, stream

LOGIN = "bob:p%40ss"


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
