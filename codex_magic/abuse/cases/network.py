"""Cases on the network and on sockets."""

from __future__ import annotations

from typing import Final

from codex_magic.abuse.attempts import network
from codex_magic.abuse.case import Case
from codex_magic.abuse.scene import Scene

UNIX: Final = "sockets that are files can be reached at this level"


def _received(scene: Scene) -> str:
    return "it arrived" if scene.listeners.received(scene.token.encode()) else ""


def _path(number: int, title: str, where: str) -> Case:
    return Case(number, title, network.connect_path, (where,), partial=UNIX)


CASES: Final = (
    Case(37, "connect to a port of this machine", network.connect_tcp),
    Case(37, "the same, network granted", network.connect_tcp, network=True, choice=True),
    Case(38, "connect to an abstract socket", network.connect_abstract),
    Case(38, "the same, network granted", network.connect_abstract, network=True, choice=True),
    _path(39, "connect to a socket in /tmp", "tmp"),
    _path(40, "connect to a kernel's socket", "runtime"),
    _path(41, "connect to a socket in another folder", "readable"),
    _path(42, "connect to a service's socket in /run", "run"),
    Case(43, "send data away", network.send_datagram, evidence=_received, own_copy=True),
    Case(
        44,
        "listen on this machine",
        network.listen,
        meanwhile=Scene.call_port,
        evidence=lambda scene: scene.reached,
        own_copy=True,
    ),
    Case(45, "listen to all traffic", network.open_packets),
    Case(46, "talk to the virtual machine's host", network.open_vsock),
    Case(47, "list this machine's network", network.list_interfaces, own_copy=True),
)
