"""How requests leave this machine: encrypted to whom one believes, through the proxy that is set."""

from __future__ import annotations

import dataclasses
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import web
from codex_magic.errors import BackendError, SetupError
from codex_magic.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that nobody believes by themselves."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    folder = tmp_path_factory.mktemp("authority")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps({"authorization": self.headers["authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Quiet(http.server.HTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that does not believe us hangs up."""


@pytest.fixture
def encrypted(authority: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    with Quiet(("127.0.0.1", 0), Door) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"https://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


def test_a_stranger_is_not_believed(encrypted: str) -> None:
    with pytest.raises(BackendError, match="certificate verify failed"):
        web.ask(web.Ask("GET", encrypted, bearer="k"), {})


@pytest.mark.parametrize("name", ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"])
def test_whom_else_one_believes_is_codexs_variable(
    encrypted: str, authority: Path, name: str
) -> None:
    environ = {name: str(authority / "cert.pem")}
    reply = web.ask(web.Ask("GET", encrypted, bearer="k"), environ)
    assert (reply.status, reply.json()) == (200, {"authorization": "Bearer k"})


def test_codexs_own_variable_goes_first(encrypted: str, authority: Path) -> None:
    cert = str(authority / "cert.pem")
    environ = {"CODEX_CA_CERTIFICATE": cert, "SSL_CERT_FILE": "/nowhere"}
    assert web.ask(web.Ask("GET", encrypted), environ).status == 200


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_are_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SetupError, match=f"the certificates in {path} cannot be used"):
        web.ask(web.Ask("GET", "https://127.0.0.1:9/"), {"SSL_CERT_FILE": str(path)})


def test_an_encrypted_host_that_says_nothing_is_left() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(BackendError, match=r"it did not answer within 0\.2 s"),
    ):
        web.ask(
            web.Ask("GET", f"https://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.2), {}
        )


def test_a_proxy_is_asked_for_the_way_and_told_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 502 no way\r\nContent-Length: 0\r\n\r\n")

        refusing = threading.Thread(target=refuse)
        refusing.start()
        environ = {"https_proxy": f"127.0.0.1:{listener.getsockname()[1]}"}
        with pytest.raises(BackendError, match=r"issuer\.test cannot be asked: 502 no way"):
            web.ask(web.Ask("GET", "https://issuer.test/secret", bearer="secret"), environ)
        refusing.join()
    assert heard[0].startswith(b"CONNECT issuer.test:443 HTTP/1.1\r\n")
    assert b"secret" not in heard[0]


def test_nothing_secret_goes_over_an_open_line() -> None:
    with pytest.raises(SetupError, match=r"must not be sent to issuer\.test unencrypted"):
        web.ask(web.Ask("GET", "http://issuer.test/"), {})


SECRET = "opaque_secret"
SHOWN: dict[str, web.Ask] = {
    "bearer": web.Ask("GET", "", bearer=SECRET),
    "code": web.Ask("POST", "", form={"grant_type": "authorization_code", "code": SECRET}),
    "refresh token": web.Ask("POST", "", json={"refresh_token": SECRET}),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_a_host_that_repeats_a_secret_is_not_repeated(shown: str) -> None:
    body = json.dumps({"error": {"code": SECRET}}).encode()
    scripts = [
        f"HTTP/1.1 {SECRET}\r\n\r\n".encode(),
        b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for script in scripts:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(script)

        answering = threading.Thread(target=answer)
        answering.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        asked = dataclasses.replace(SHOWN[shown], url=url)
        with pytest.raises(BackendError) as raised:
            web.ask(asked, {})
        reply = web.ask(asked, {})
        answering.join()
    assert SECRET not in str(raised.value)
    assert (reply.code(), reply.masked(f"no {SECRET} here")) == (MASK, f"no {MASK} here")


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://ada:hidden@127.0.0.1:9", "names a SOCKS proxy, for which a package is missing"),
        ("carrier://ada:hidden@127.0.0.1:9", "the proxy that the environment names cannot be used"),
        ("ada:hidden@127.0.0.1:port", "the proxy that the environment names cannot be used"),
    ],
)
def test_a_proxy_that_cannot_be_used(proxy: str, said: str) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        web.ask(web.Ask("GET", "https://issuer.invalid/"), {"HTTPS_PROXY": proxy})
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
