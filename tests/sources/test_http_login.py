"""_http_login: Basic and Digest, with the examples of RFC 7616 and RFC 2069."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.sources._http_login import Login, parse_challenges

SERVER_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OWN_NONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
DIGEST = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    f'nonce="{SERVER_NONCE}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def answer(*headers: str, user: str = "Mufasa", password: str = "Circle of Life") -> Login:
    login = Login(user, password, lambda: OWN_NONCE)
    assert login.accept(headers)
    return login


def fields(authorization: str | None) -> dict[str, str]:
    assert authorization is not None
    (challenge,) = parse_challenges([authorization])
    return challenge.parameters


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_answers_the_example_of_rfc_7616(algorithm, response):
    found = fields(answer(DIGEST.format(algorithm)).authorization("GET", "/dir/index.html"))
    assert found == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": SERVER_NONCE,
        "nc": "00000001",
        "cnonce": OWN_NONCE,
        "qop": "auth",
        "response": response,
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }


def test_answers_the_example_of_rfc_2069_without_qop():
    challenge = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    found = fields(answer(challenge, password="CircleOfLife").authorization("GET", "/dir/index.html"))
    assert found["response"] == "1949323746fe6a43ef61f9606e7febea"  # with erratum 749
    assert not {"nc", "cnonce", "qop", "algorithm"} & found.keys()


def test_a_session_algorithm_hashes_both_nonces():
    found = fields(answer(DIGEST.format("MD5-sess")).authorization("GET", "/"))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    session = md5(f"{md5('Mufasa:http-auth@example.org:Circle of Life')}:{SERVER_NONCE}:{OWN_NONCE}")
    assert found["response"] == md5(f"{session}:{SERVER_NONCE}:00000001:{OWN_NONCE}:auth:{md5('GET:/')}")


def test_counts_the_requests_of_a_nonce():
    login = answer(DIGEST.format("MD5"))
    counts = [fields(login.authorization("GET", "/"))["nc"] for _ in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
    login.accept([DIGEST.format("MD5").replace(SERVER_NONCE, "new")])
    found = fields(login.authorization("GET", "/"))
    assert (found["nonce"], found["nc"]) == ("new", "00000001")


def test_there_is_no_authorization_before_a_challenge():
    assert Login("u", "p").authorization("GET", "/") is None


def test_basic_encodes_utf_8():
    assert answer("Basic realm=x", user="ü", password="a:b").authorization("GET", "/") == "Basic w7w6YTpi"


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        (["Basic realm=x", DIGEST.format("MD5"), DIGEST.format("SHA-256")], "SHA-256"),
        ([f'Basic realm="a, Digest b=\\"c\\"", {DIGEST.format("MD5")}'], "MD5"),
        ([f"{DIGEST.format('SHA-512-256')}, {DIGEST.format('MD5')}"], "MD5"),
        (["Negotiate abc==", "NTLM", "Basic realm=x"], None),
        ([DIGEST.format("MD5").replace("auth, auth-int", "auth-int"), "Basic realm=x"], None),
        (["Digest realm=x", "BASIC"], None),
    ],
)
def test_uses_the_best_challenge(headers, scheme):
    authorization = answer(*headers).authorization("GET", "/")
    assert authorization is not None
    assert fields(authorization)["algorithm"] == scheme if scheme else authorization.startswith("Basic ")


@pytest.mark.parametrize("headers", [[], ["Negotiate"], [DIGEST.format("SHA-512")], ["Digest realm=x"], [""], ["=,"]])
def test_refuses_what_it_does_not_support(headers):
    assert not Login("u", "p").accept(headers)


def test_a_user_in_hashed_form_and_one_that_is_not_ascii():
    hashed = fields(answer(DIGEST.format("SHA-256") + ", userhash=true").authorization("GET", "/"))
    assert hashed["username"] == hashlib.sha256(b"Mufasa:http-auth@example.org").hexdigest()
    assert hashed["userhash"] == "true"
    assert "username*=UTF-8''%C3%BC" in str(answer(DIGEST.format("MD5"), user="ü").authorization("GET", "/"))


def test_quotes_what_it_repeats():
    found = answer('Digest realm="a\\"b", nonce="\\\\"').authorization("GET", '/"')
    assert 'realm="a\\"b", nonce="\\\\", uri="/\\""' in str(found)


def test_knows_a_stale_nonce():
    assert answer(DIGEST.format("MD5") + ", stale=TRUE").is_stale
    assert not answer(DIGEST.format("MD5")).is_stale


@given(st.text(max_size=60), st.sampled_from(["", "Digest ", "Digest nonce=", 'Digest nonce="a", ', "Basic ", ","]))
def test_an_arbitrary_challenge_gives_one_printable_line(tail, start):
    login = Login("user", "pass")
    if login.accept([start + tail]):
        assert str(login.authorization("GET", "/")).isprintable()
