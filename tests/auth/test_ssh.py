"""Credentials from another machine: what ssh is told, and what it may answer.

The ssh here is a program that writes down how it was called. That a real one takes the same
words is shown where there is a real server to ask.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import ssh
from codex_magic.errors import BackendError, CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Room

FAKE = """
import json, os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
asked = json.loads((here / "script.json").read_text())
if "-G" in sys.argv:
    print(asked.get("configured", "user ada\\nhostname lab.test\\nproxyusefdpass no"))
    sys.exit(asked.get("configuring", 0))
answers = []
for prompt in asked.get("prompts", []):
    ran = subprocess.run([os.environ["SSH_ASKPASS"], prompt], capture_output=True, text=True)
    answers.append([ran.returncode, ran.stdout])
called = {"argv": sys.argv[1:], "environ": dict(os.environ), "answers": answers}
(here / "called.json").write_text(json.dumps(called))
sys.stdout.write(asked.get("printed", ""))
sys.stderr.write(asked.get("complaint", ""))
sys.exit(asked.get("code", 0))
"""


@pytest.fixture
def fake(room: Room) -> Callable[..., Any]:
    """Put an ssh on PATH that answers like this; what is returned reads how it was called."""
    folder = room.folder / "bin"
    folder.mkdir()
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{FAKE}")
    path.chmod(0o755)
    room.environ["PATH"] = f"{folder}:{room.environ['PATH']}"

    def answers(**script: Any) -> Callable[[], dict[str, Any]]:
        (folder / "script.json").write_text(json.dumps(script))
        return lambda: dict(json.loads((folder / "called.json").read_text()))

    return answers


def used(room: Room, host: str = "ada@lab.test:2222", **settings: Any) -> Any:
    return room.find(token_source="ssh", token_host=host, **settings).current()


def test_what_ssh_is_told(room: Room, fake: Callable[..., Any]) -> None:
    kept = room.aged(3600)
    called = fake(printed=json.dumps(kept))
    found = used(room)
    assert found.token == kept["tokens"]["access_token"]
    assert found.source == "from ada@lab.test by ssh"
    assert room.issuer.requests == []
    argv = called()["argv"]
    options = {argv[at + 1] for at, word in enumerate(argv) if word == "-o"}
    assert options == {
        "BatchMode=yes",
        "ConnectTimeout=15",
        "NumberOfPasswordPrompts=1",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RequestTTY=no",
    }
    assert argv[-5:] == ["-p", "2222", "--", "ada@lab.test", "cat -- ~/.codex/auth.json"]


@pytest.mark.parametrize(
    ("host", "target", "port"),
    [
        ("lab", "lab", ""),
        ("ada@lab.test", "ada@lab.test", ""),
        ("ada.b+c@10.0.0.1:22", "ada.b+c@10.0.0.1", "22"),
        ("ada@[2001:db8::1]:22", "ada@2001:db8::1", "22"),
        ("[fe80::1%eth0]", "fe80::1%eth0", ""),
    ],
)
def test_hosts(host: str, target: str, port: str) -> None:
    assert ssh.remote(host) == ssh.Remote(target, port)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "-oProxyCommand=x",
            "-J@x",
            "@lab",
            "ada@-lab",
            "ada@",
            "lab:",
            "lab:port",
            "lab:123456",
        ),
        *(
            "a b",
            "lab;x",
            "$(x)@lab",
            "ada@lab\n",
            "ada@lab -v",
            "a@b@c",
            "ssh://lab",
            "lab/x",
            "[::1",
        ),
    ],
)
def test_what_is_no_host(room: Room, fake: Callable[..., Any], host: str) -> None:
    fake()
    with pytest.raises(SetupError, match=r"not of the form user@host:port|does not say from where"):
        used(room, host)
    assert not (room.folder / "bin/called.json").exists()


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("/etc/it's here", "cat -- '/etc/it'\"'\"'s here'"),
        ("~/a b;x.json", "cat -- ~/'a b;x.json'"),
        ("~ada/x", "cat -- '~ada/x'"),
        ("$(x)", "cat -- '$(x)'"),
        ("-v", "cat -- -v"),
    ],
)
def test_a_files_name_is_no_command(
    room: Room, fake: Callable[..., Any], file: str, asked: str
) -> None:
    called = fake(printed='{"OPENAI_API_KEY": "sk-x"}')
    used(room, token_file=file)
    assert called()["argv"][-1] == asked


UNKNOWN = "No ED25519 host key is known for lab.test and you have requested strict checking.\n"
CHANGED = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n"
FAILED = "Host key verification failed.\r\n"


HERE = "ada@lab.test"
TYPED = "`ssh -p 2222 ada@lab.test`"
REFUSED = "ssh: connect to host lab.test port 2222: Connection refused"
CLOSED = "cat: /home/ada/.codex/auth.json: Permission denied"


@pytest.mark.parametrize(
    ("code", "complaint", "kind", "said"),
    [
        (
            255,
            UNKNOWN + FAILED,
            SetupError,
            (
                f"{HERE} is a host that this machine does not know yet."
                f" Type {TYPED} in a terminal once, and compare the key it shows"
            ),
        ),
        (
            255,
            CHANGED + FAILED,
            SetupError,
            (
                f"{HERE} shows another key than before: it may be another machine."
                " Ask whoever runs it; nothing was sent"
            ),
        ),
        (
            255,
            f"{HERE}: Permission denied (publickey,password).\r\n",
            SetupError,
            (
                f"{HERE} does not let us in."
                f" Let {TYPED} work without a question, or set CODEX_MAGIC_TOKEN_PASSWORD"
            ),
        ),
        (
            1,
            f"{CLOSED}\n",
            SetupError,
            (
                f"{HERE} does not give ~/.codex/auth.json: {CLOSED}."
                " Sign in over there, or set CODEX_MAGIC_TOKEN_FILE to its file"
            ),
        ),
        (
            255,
            f"{REFUSED}\r\n",
            BackendError,
            f"{HERE} cannot be reached: {REFUSED}. Try {TYPED} in a terminal",
        ),
    ],
)
def test_what_ssh_may_complain_of(  # noqa: PLR0913, PLR0917 - two fixtures, a row of four
    room: Room,
    fake: Callable[..., Any],
    code: int,
    complaint: str,
    kind: type[CodexMagicError],
    said: str,
) -> None:
    fake(code=code, complaint=complaint)
    with pytest.raises(kind) as caught:
        used(room)
    assert str(caught.value) == said


def test_too_much(room: Room, fake: Callable[..., Any]) -> None:
    fake(printed="x" * 70_000)
    with pytest.raises(SetupError, match="prints more than 64 KB"):
        used(room)


def test_an_ssh_of_the_notebooks_folder_is_not_run(
    room: Room, fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    monkeypatch.chdir(room.folder / "bin")
    room.environ["PATH"] = f".{os.pathsep}{os.pathsep}bin"
    with pytest.raises(SetupError, match="there is no ssh on this machine"):
        used(room)


PASSWORD = "correct horse battery"
UNSURE = """The authenticity of host 'password.test' can't be established.
Are you sure you want to continue connecting (yes/no/[fingerprint])? """


@pytest.mark.parametrize("code", [1, 255])
def test_a_password_that_is_complained_of_is_not_repeated(
    room: Room, fake: Callable[..., Any], code: int
) -> None:
    fake(code=code, complaint=f"what shall I do with {PASSWORD}?\n")
    with pytest.raises(CodexMagicError, match=r"what shall I do with \*\*\*masked\*\*\*\?"):
        used(room, token_password=PASSWORD)


def test_a_password_is_told_to_whoever_asks_for_it_and_nowhere_else(
    room: Room, fake: Callable[..., Any]
) -> None:
    called = fake(
        printed='{"OPENAI_API_KEY": "sk-x"}',
        prompts=[
            UNSURE,
            "Enter passphrase for key '/home/ada/.ssh/id_ed25519': ",
            "guest@bastion's password: ",
            "(guest@bastion) ada@lab.test's password: ",
            "(guest@bastion) Password: ",
            "ada@lab.test.bastion's password: ",
            "Password: ",
            "ada@lab.test's password: ",
        ],
    )
    room.environ["CODEX_MAGIC_TOKEN_PASSWORD"] = PASSWORD
    used(room, token_password=PASSWORD)
    seen = called()
    assert seen["answers"] == [[1, ""]] * 7 + [[0, f"{PASSWORD}\n"]]
    assert {"BatchMode=no", "ProxyCommand=none"} <= set(seen["argv"])
    assert PASSWORD not in json.dumps([seen["argv"], seen["environ"]])
    assert not Path(seen["environ"]["SSH_ASKPASS"]).parent.exists()


def test_a_password_is_told_to_a_question_of_the_machines_own(
    room: Room, fake: Callable[..., Any]
) -> None:
    called = fake(
        printed='{"OPENAI_API_KEY": "sk-x"}',
        configured="user ada\nhostname 10.0.0.1\nhostkeyalias the lab*",
        prompts=["(ada@10.0.0.1) Password: ", "(ada@the lab*) Password: "],
    )
    used(room, "lab", token_password=PASSWORD)
    assert called()["answers"] == [[1, ""], [0, f"{PASSWORD}\n"]]


THROUGH = "is reached through another machine, which could ask for it too"
UNTOLD = "does not say how it would ask for the password of lab"


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ("user ada\nhostname lab\nproxyjump guest@bastion", THROUGH),
        ("user ada\nhostname lab\nproxycommand ssh -W %h:%p bastion", THROUGH),
        ("hostname lab", UNTOLD),
        ("", UNTOLD),
    ],
)
def test_a_password_goes_through_no_other_machine(
    room: Room, fake: Callable[..., Any], configured: str, said: str
) -> None:
    fake(configured=configured)
    with pytest.raises(SetupError, match=said):
        used(room, "lab", token_password=PASSWORD)
    assert not (room.folder / "bin/called.json").exists()


# --- with a real one -----------------------------------------------------------------------------


class Server:
    """An sshd on this machine, with keys and a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("host", "person"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        shutil.copy(folder / "person.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder / 'host'}\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\n"
        )
        self.log = (folder / "log").open("wb")
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        self.process = subprocess.Popen(
            [str(program), "-D", "-e", "-f", str(folder / "config")], stderr=self.log
        )

    def listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture
def server(tmp_path: Path, until: Callable[..., None]) -> Iterator[Server]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("there is no sshd here")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's goes to be without rights
    made = Server(tmp_path / "server")
    try:
        until(made.listens)
        yield made
    finally:
        made.close()


def client(room: Room, server: Server, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Put an ssh on PATH with a configuration of its own, as a person's would be in their home."""
    config = room.folder / "ssh_config"
    config.write_text(
        f"IdentityFile {server.folder / 'person'}\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {room.folder / 'known'}\nGlobalKnownHostsFile /dev/null\n"
        + "".join(f"{line}\n" for line in lines)
    )
    folder = room.folder / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / "ssh"
    path.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    path.chmod(0o755)
    room.environ["PATH"] = f"{folder}:{room.environ['PATH']}"


def test_a_real_server(room: Room, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = room.aged(3600)
    path = room.keep(kept, room.folder / "there/auth with space.json")
    client(room, server, monkeypatch)
    host = f"{getpass.getuser()}@127.0.0.1:{server.port}"
    with pytest.raises(SetupError, match="is a host that this machine does not know yet"):
        used(room, host, token_file=str(path))
    key = (server.folder / "host.pub").read_text()
    (room.folder / "known").write_text(f"[127.0.0.1]:{server.port} {key}")
    assert used(room, host, token_file=str(path)).token == kept["tokens"]["access_token"]
    with pytest.raises(SetupError, match="No such file or directory"):
        used(room, host, token_file=f"{path}.gone")
    (server.folder / "authorized").write_text("")
    with pytest.raises(SetupError, match="does not let us in"):
        used(room, host, token_file=str(path))
    other = (server.folder / "person.pub").read_text()
    (room.folder / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    with pytest.raises(SetupError, match="shows another key than before"):
        used(room, host, token_file=str(path))
    server.close()
    with pytest.raises(BackendError, match="cannot be reached"):
        used(room, host, token_file=str(path))


def test_a_real_ssh_goes_through_no_other_machine_with_a_password(
    room: Room, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bastion = (f"HostName 127.0.0.1\nPort {server.port}",)
    jump = ("Host bastion", *bastion, "Host target", "ProxyJump bastion")
    client(room, server, monkeypatch, *jump)
    with pytest.raises(SetupError, match=f"target {THROUGH}"):
        used(room, "ada@target", token_password=PASSWORD)


def test_a_real_ssh_asks_our_helper_nothing_that_it_should_not(
    room: Room, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a password given, ssh asks about an unknown key; the answer is never the password."""
    client(room, server, monkeypatch, "StrictHostKeyChecking ask")
    with pytest.raises(SetupError, match="is a host that this machine does not know yet"):
        used(room, f"ada@127.0.0.1:{server.port}", token_password=PASSWORD)
    assert not (room.folder / "known").exists()
