"""Attempts on the network and on sockets: the kernel's ports, other programs', and the machine."""

from __future__ import annotations

import os
import socket

from codex_magic.abuse.inside import Own, Place

GREETING = b"hello"


def _greeted(peer: socket.socket, where: str) -> str:
    if peer.recv(len(GREETING)) != GREETING:
        raise ConnectionError(0, "somebody else answered")
    return f"talked to {where}"


def connect_tcp(place: Place) -> str:
    """Connect to a port of the machine, as the kernel and the Jupyter server have."""
    with socket.create_connection(("127.0.0.1", place.tcp), 5) as peer:
        return _greeted(peer, "a port of this machine")


def connect_abstract(place: Place) -> str:
    """Connect to a Unix socket that has a name and no file."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"\0{place.abstract}")
        return _greeted(peer, "an abstract socket")


def connect_path(place: Place, where: str) -> str:
    """Connect to a Unix socket in a folder."""
    if where not in place.sockets:
        raise FileNotFoundError(0, "nobody but root can put a socket there")
    folder, name = os.path.split(place.sockets[where])
    os.chdir(folder)  # an address is at most 107 bytes long
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(name)
        return _greeted(peer, f"the socket in {folder}")


def send_datagram(place: Place) -> str:
    """Send data away as a question for a name would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(place.token.encode(), ("127.0.0.1", place.udp))
    return "sent it"


def listen(place: Place) -> str:
    """Offer a port to whoever else is on the machine."""
    with socket.create_server(("127.0.0.1", place.port)):
        place.meet()
    return "listened"


def open_packets(_: Place) -> str:
    """Listen to all traffic."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return "made a packet socket"


def open_vsock(_: Place) -> str:
    """Make a socket to the host of a virtual machine, which is in no namespace."""
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "made a socket to the host"


def list_interfaces(place: Place) -> str:
    """Ask the system for its network interfaces."""
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    seen = [name for _, name in socket.if_nameindex()]
    if others := [name for name in place.interfaces if name in seen]:
        return f"saw {', '.join(others)}"
    return Own(f"saw {', '.join(seen)} only")
