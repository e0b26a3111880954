"""Where one signs in, and whom nothing secret is shown to."""

from __future__ import annotations

import pytest

from codex_magic.auth import hosts, route
from codex_magic.auth.hosts import Hosts
from codex_magic.errors import SetupError

ISSUER = f"https://{hosts.ISSUER}"


def test_the_hosts_of_codex() -> None:
    assert hosts.hosts({}) == Hosts(
        issuer=ISSUER,
        client_id=hosts.CLIENT_ID,
        token=f"{ISSUER}/oauth/token",
        revoke=f"{ISSUER}/oauth/revoke",
        whoami=f"{ISSUER}/api/accounts/v1/user-auth-credential/whoami",
    )


def test_the_variables_of_codex() -> None:
    environ = {
        "CODEX_APP_SERVER_LOGIN_ISSUER": "https://a.test/",
        "CODEX_APP_SERVER_LOGIN_CLIENT_ID": "me",
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE": "http://127.0.0.1:1/t",
        "CODEX_REVOKE_TOKEN_URL_OVERRIDE": "http://[::1]:1/r",
        "CODEX_AUTHAPI_BASE_URL": "http://localhost:1",
    }
    assert hosts.hosts(environ) == Hosts(
        issuer="https://a.test",
        client_id="me",
        token="http://127.0.0.1:1/t",
        revoke="http://[::1]:1/r",
        whoami="http://localhost:1/v1/user-auth-credential/whoami",
    )


@pytest.mark.parametrize(
    "name",
    [
        "CODEX_APP_SERVER_LOGIN_ISSUER",
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
        "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
        "CODEX_AUTHAPI_BASE_URL",
    ],
)
def test_no_variable_leads_tokens_over_an_open_line(name: str) -> None:
    with pytest.raises(SetupError, match=name):
        hosts.hosts({name: "http://issuer.test"})


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://a.test/x", True),
        ("https://a.test:8443", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://a.test", False),
        ("http://localhost.a.test", False),
        ("http://127.0.0.1.a.test", False),
        ("http://10.0.0.1", False),
        ("https://user:word@a.test", False),
        ("http://127.0.0.1@a.test", False),
        ("https://", False),
        ("https://a.test:port", False),
        ("https://[::1", False),
        ("ftp://127.0.0.1", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_where_a_secret_may_go(url: str, is_safe: bool) -> None:
    assert hosts.is_safe(url) is is_safe


@pytest.mark.parametrize(
    ("url", "is_openai"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://chatgpt.com/backend-api/codex", True),
        ("https://openai.com.a.test", False),
        ("https://notopenai.com", False),
        ("http://api.openai.com/v1", False),
        ("http://127.0.0.1:1/v1", False),
        ("https://a.test/api.openai.com", False),
        ("https://api.openai.com@a.test", False),
        ("https://[", False),
    ],
)
def test_which_hosts_are_openais(url: str, is_openai: bool) -> None:
    assert hosts.is_openai(url) is is_openai


PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://a.test", {}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.test", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test"}, PROXY),
        ("https://a.test", {"all_proxy": "proxy.test:3128"}, PROXY),
        ("https://a.test", {"HTTP_PROXY": PROXY}, None),
        ("http://127.0.0.1:1", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "b.test, .a.test"}, None),
        ("https://x.a.test", {"HTTPS_PROXY": PROXY, "no_proxy": "a.test"}, None),
        ("https://xa.test", {"HTTPS_PROXY": PROXY, "no_proxy": "a.test"}, PROXY),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "no_proxy": "10.0.0.0/8"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": PROXY, "no_proxy": "10.0.0.0/8,"}, PROXY),
    ],
)
def test_which_proxy_a_request_takes(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert route.proxy(url, environ) == proxy
