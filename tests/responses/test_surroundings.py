"""Addresses, and what the environment says about the way to them."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from codex_magic.backends.responses import address, surroundings
from codex_magic.backends.responses.address import Address
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = {
    "https://api.example/v1": (Address("https", "api.example", 443, "/v1"), "api.example", "/v1"),
    " HTTP://API.Example:8080/ ": (
        Address("http", "api.example", 8080, "/"),
        "api.example:8080",
        "/",
    ),
    "http://[::1]:11434/v1": (Address("http", "::1", 11434, "/v1"), "[::1]:11434", "/v1"),
    "https://a.example/b c?api-version=1&d=ü": (
        Address("https", "a.example", 443, "/b%20c", "api-version=1&d=%C3%BC"),
        "a.example",
        "/b%20c?api-version=1&d=%C3%BC",
    ),
    "https://bücher.example": (
        Address("https", "xn--bcher-kva.example", 443),
        "xn--bcher-kva.example",
        "/",
    ),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address(url: str) -> None:
    found = address.parse(url)
    assert (found, found.name, found.target) == ADDRESSES[url]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example/v1",
        "ftp://api.example",
        "https://",
        "https://ada:hidden@api.example",
        "https://hidden@api.example",
        "https://api.example:hidden/",
        "https://api.example:99999/hidden",
        "https://[hidden",
        f"https://ü{'x' * 70}.hidden",
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(SetupError, match="cannot be used") as raised:
        address.parse(url)
    assert "hidden" not in "".join(traceback.format_exception(raised.value, chain=False))


def test_below_an_address() -> None:
    base = address.parse("https://a.example/openai/v1/?api-version=1")
    found = [base.below("responses"), base.below("/models", {"v": "a b"})]
    assert [one.target for one in found] == [
        "/openai/v1/responses?api-version=1",
        "/openai/v1/models?api-version=1&v=a+b",
    ]


PRIVATE = {
    "https://a.example": True,
    "http://a.example": False,
    "http://localhost": True,
    "http://127.0.0.1": True,
    "http://127.9.9.9": True,
    "http://[::1]": True,
    "http://127.0.0.1.example": False,
    "http://127.example": False,
    "http://localhost.example": False,
    "http://192.168.0.1": False,
}


@pytest.mark.parametrize("url", PRIVATE)
def test_who_can_read_it(url: str) -> None:
    assert address.parse(url).is_private == PRIVATE[url]


PROXY = "http://proxy.example:3128"
PROXIES: dict[str, tuple[dict[str, str], str, str | None]] = {
    "none": ({}, "https://a.example", None),
    "an empty one": ({"https_proxy": " "}, "https://a.example", None),
    "for https": ({"https_proxy": PROXY}, "https://a.example", PROXY),
    "for http only": ({"http_proxy": PROXY}, "https://a.example", None),
    "for all": ({"ALL_PROXY": PROXY}, "https://a.example", PROXY),
    "two spellings": (
        {"HTTPS_PROXY": "http://no", "https_proxy": PROXY},
        "https://a.example",
        PROXY,
    ),
    "the nearest": ({"ALL_PROXY": "http://no", "HTTPS_PROXY": PROXY}, "https://a.example", PROXY),
    "without a scheme": ({"HTTPS_PROXY": "proxy.example:3128"}, "https://a.example", PROXY),
    "socks": (
        {"ALL_PROXY": "socks5h://proxy.example"},
        "https://a.example",
        "socks5h://proxy.example",
    ),
    "this machine": ({"ALL_PROXY": PROXY}, "http://127.0.0.1:11434", None),
    "this machine by name": ({"ALL_PROXY": PROXY}, "http://localhost:11434", None),
    "excepted": (
        {"ALL_PROXY": PROXY, "NO_PROXY": "b.example, a.example"},
        "https://a.example",
        None,
    ),
    "excepted with dots": ({"ALL_PROXY": PROXY, "no_proxy": ".example"}, "https://a.example", None),
    "excepted with a star": (
        {"ALL_PROXY": PROXY, "no_proxy": "*.Example"},
        "https://a.example",
        None,
    ),
    "all excepted": ({"ALL_PROXY": PROXY, "no_proxy": "*"}, "https://a.example", None),
    "another": ({"ALL_PROXY": PROXY, "no_proxy": "a.example"}, "https://aa.example", PROXY),
    "another port": ({"ALL_PROXY": PROXY, "no_proxy": "a.example:80"}, "https://a.example", PROXY),
    "this port": ({"ALL_PROXY": PROXY, "no_proxy": "a.example:443"}, "https://a.example", None),
    "a network": ({"ALL_PROXY": PROXY, "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3", None),
    "another network": ({"ALL_PROXY": PROXY, "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3", PROXY),
    "IPv6": ({"ALL_PROXY": PROXY, "no_proxy": "fd00::/8"}, "http://[fd00::1]", None),
    "nonsense": ({"ALL_PROXY": PROXY, "no_proxy": ",:,/,..:x"}, "https://a.example", PROXY),
}


@pytest.mark.parametrize("case", PROXIES)
def test_the_proxy_on_the_way(case: str) -> None:
    environ, url, proxy = PROXIES[case]
    found = address.parse(url)
    assert surroundings.proxy(found.scheme, found.host, found.port, environ) == proxy


@pytest.mark.parametrize("value", ["ftp://proxy", "http://", "http://ada:hidden@[x", "http://h:x"])
def test_a_proxy_that_is_none(value: str) -> None:
    with pytest.raises(SetupError) as raised:
        surroundings.proxy("https", "a.example", 443, {"HTTPS_PROXY": value})
    assert raised.value.message == "HTTPS_PROXY is not the address of a proxy"


@pytest.mark.parametrize("name", ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"])
def test_certificates_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(SetupError) as raised:
            surroundings.trust({name: str(path)})
        assert (
            raised.value.message
            == f"{name} names {path}, which holds no certificates that can be read"
        )


def test_the_environment_may_say_nothing_of_certificates() -> None:
    assert surroundings.trust({"SSL_CERT_FILE": ""}) is None
