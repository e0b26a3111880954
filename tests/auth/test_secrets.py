"""Nothing secret is logged, shown by an error, or stands where other processes can read it."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codex_magic.auth import device, document, login, memory, places, stored, web
from codex_magic.auth.flight import Flight
from codex_magic.auth.notices import Notices
from codex_magic.errors import CodexMagicError
from codex_magic.issuer import DEVICE_TOKEN, TOKEN, WHOAMI, Given, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from conftest import Room

MARK = "s3cr3t"
KEY = f"sk-{MARK}-0123456789"


class Ears:
    """Everything that is said anywhere while a test runs."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def does(self, work: Callable[[], Any]) -> None:
        """Do `work`, and listen to what it gives, or how it fails."""
        try:
            found = work()
        except CodexMagicError as error:
            self.heard.append("".join(traceback.format_exception(error)))
            self.heard.append(f"{error!r} {error} {error.hint} {vars(error)}")
            self.heard.extend(error._render_traceback_())
        else:
            self.heard.append(f"{found!r} {found}")


def leaks(ears: Ears, room: Room) -> list[str]:
    """Return what was heard and should not have been: tokens, and what hosts said beside them."""
    said = "\n".join(ears.heard)
    assert room.issuer.issued
    return [secret for secret in (KEY, MARK, *room.issuer.issued) if secret in said]


def test_of_renewals(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears()
    with caplog.at_level(logging.DEBUG):
        source = room.find()
        room.keep(room.expired())
        room.issuer.script(TOKEN, Given(500, {"error": MARK}), Given(200, f"<p>{MARK}"))
        ears.does(source.current)
        ears.does(source.current)
        ears.does(source.current)
        ears.does(lambda: source.renewed(source.current()))
        for code in ("refresh_token_reused", "refresh_token_expired"):
            room.keep(room.expired())
            room.issuer.script(TOKEN, refused(code))
            ears.does(source.current)
        room.ours.write_text(f'{{"tokens": {{"access_token": "{MARK}')
        ears.does(source.current)
        room.ours.write_bytes(json.dumps({"OPENAI_API_KEY": KEY}).encode())
        ears.does(source.current)
        ears.does(lambda: source.renewed(source.current()))
        room.keep({"personal_access_token": f"at-{MARK}"})
        ears.does(source.current)
        ears.heard.append(repr([source, *source._sources, vars(source)]))
        ears.heard.append(caplog.text)
    assert leaks(ears, room) == []


def test_of_sign_ins(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears()
    with caplog.at_level(logging.DEBUG):
        room.issuer.script(DEVICE_TOKEN, Given(403), Given(500))
        sign_in = login.device(room.environ)
        room.issuer.approve()
        ears.does(lambda: sign_in.wait(20))
        ears.heard.append(repr([sign_in, vars(sign_in)]))
        sign_in.cancel()
        room.issuer.script(TOKEN, Given(400, f"<p>{MARK}"))
        second = login.device(room.environ)
        ears.does(lambda: second.wait(20))
        second.cancel()
        ears.does(lambda: login.with_key(room.environ, f"{KEY} {KEY}"))
        ears.does(lambda: login.with_key(room.environ, f"at-{MARK}"))
        ears.does(lambda: login.logout(room.environ))
        ears.heard.append(caplog.text)
    assert leaks(ears, room) == []


def test_of_hosts(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears()
    path = "/codex"
    answers = [Given(200, f"<p>{MARK}"), Given(401, MARK), Given(302, "", {"Location": f"/{MARK}"})]
    room.issuer.script(path, *answers, Given(200, room.aged(3600)))
    with caplog.at_level(logging.DEBUG):
        source = room.find(token_source="http", token_url=room.issuer.url + path, token_key=KEY)
        for _ in range(len(answers) + 1):
            ears.does(source.current)
        room.issuer.close()
        ears.does(lambda: source.renewed(source.current()))
        ears.heard.append(repr([vars(one) for one in [source, *source._sources]]))
    # httpx2 tells where a redirect led; that is an address, and not followed.
    ears.heard.append(caplog.text.replace(f"/{MARK}", ""))
    assert leaks(ears, room) == []


def test_of_values(room: Room) -> None:
    kept = document.parse(json.dumps(room.aged(3600)).encode())
    place = places.FilePlace(Path("x"), "w", "a", Notices())
    raw = document.written(kept)
    values = [
        document.credential(kept, "somewhere"),
        stored.Kept(place, raw, kept),
        memory.Unsaved(raw, kept),
        memory.Memory(memory.Unsaved(raw, kept), came=(MARK, 0.0), odd=MARK),
        web.Ask("POST", f"http://x/{MARK}", json={MARK: 1}, form={MARK: ""}, bearer=MARK),
        web.Reply(200, MARK.encode()),
        device.Device(MARK, "A-B", 1.0, 1.0),
        Flight(lambda: MARK, "codex sign-in"),
    ]
    said = repr(values) + "".join(str(value) for value in values)
    tokens = [*kept["tokens"].values()]
    assert [secret for secret in (MARK, *tokens) if secret in said and secret != "acc-1"] == []
    shown = [one for one in values if dataclasses.is_dataclass(one)]
    assert len(shown) == len(values) - 1


SPY = """
import os, pathlib, sys
if "-G" in sys.argv:
    print("user ada\\nhostname lab")
    sys.exit()
seen = []
for entry in pathlib.Path("/proc").iterdir():
    try:
        words = (entry / "cmdline").read_bytes()
        environ = (entry / "environ").read_bytes() if entry.name.isdecimal() else b""
    except OSError:
        continue
    if entry.name.isdecimal() and int(entry.name) in (os.getpid(), os.getppid()):
        seen.append(words + (environ if int(entry.name) == os.getpid() else b""))
pathlib.Path(__file__).with_name("seen").write_bytes(b"|".join(seen))
print('{"OPENAI_API_KEY": "sk-x"}')
"""


def test_of_words_and_environments(room: Room) -> None:
    """What every process of the machine may read of an ssh that is told a password."""
    folder = room.folder / "bin"
    folder.mkdir()
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{SPY}")
    path.chmod(0o755)
    room.environ |= {"PATH": f"{folder}:{room.environ['PATH']}", "SSH_PASS": MARK}
    room.find(token_source="ssh", token_host="lab", token_password=MARK, token_key=KEY).current()
    seen = (folder / "seen").read_bytes()
    assert (b"SSH_ASKPASS" in seen, MARK.encode() in seen) == (True, False)


def test_whose_a_token_is_is_asked_without_telling_it(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears()
    room.environ["CODEX_ACCESS_TOKEN"] = room.issuer.personal_token()
    room.issuer.script(WHOAMI, Given(500, MARK), Given(200, {"email": "a@b.c"}))
    with caplog.at_level(logging.DEBUG):
        source = room.find()
        ears.does(source.current)
        ears.does(source.current)
        ears.does(lambda: source.renewed(source.current()))
    ears.heard.append(caplog.text)
    assert leaks(ears, room) == []
