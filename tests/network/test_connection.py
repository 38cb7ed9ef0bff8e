"""A host option that is not a host is rejected, with what to write instead."""

from __future__ import annotations

import pytest

from edge_app.errors import OptionError
from edge_app.network.connection import check_host


@pytest.mark.parametrize("host", ["broker", "10.0.0.7", "fe80::1", "::1", "a-b.example"])
def test_accepts_a_name_and_an_ip_address(host):
    check_host("host", host)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("mqtt://broker:1883", "an address with a scheme; expected the name or IP address alone: see port and tls"),
        ("mqtts://user:c4nary@broker", "an address with a scheme"),
        ("broker:1883", "a host with a port; expected the name or IP address alone: see port"),
        ("10.0.0.7:1883", "a host with a port"),
        ("user:c4nary@broker", "a character that no host has"),
        ("[fe80::1]", "a character that no host has"),
        ("a..b", "an invalid host name"),
    ],
)
def test_says_what_to_write_instead_of_an_address(host, found):
    with pytest.raises(OptionError, match=f"host: found {found}") as caught:
        check_host("host", host)
    assert "c4nary" not in str(caught.value)
