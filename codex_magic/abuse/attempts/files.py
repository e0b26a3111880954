"""Attempts on files: secrets to read, places to write, names that other programs obey."""

# The plain ways of os say which system call is attempted, and pathlib takes long to import.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH105, PTH109, PTH120, PTH123, PTH211

from __future__ import annotations

import os

from codex_magic.abuse.inside import Place, asked

# typing would take as long as most attempts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AT_CWD = -100
EVIL = "evil = True\n"


def _write(path: str, text: str = EVIL) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return f"wrote {path}"


def _secret(place: Place, path: str) -> str:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if place.token not in text:
        raise PermissionError(0, "it was not the secret", path)
    return f"read {path}"


def read_in_home(place: Place, name: str) -> str:
    """Read a credential of the person."""
    return _secret(place, f"{place.home}/{name}")


def read_runtime(place: Place) -> str:
    """Read the connection file of a kernel: whoever has its key can run code there."""
    return _secret(place, f"{place.runtime}/kernel-1.json")


def read_outside(place: Place) -> str:
    """Read a file beside the workspace."""
    return _secret(place, f"{place.outside}/notes.txt")


def read_passwords(_: Place) -> str:
    """Read the hashes of the passwords."""
    with open("/etc/shadow", encoding="utf-8") as file:
        if ":" not in file.read():
            raise PermissionError(0, "it is empty", "/etc/shadow")
    return "read /etc/shadow"


def write_outside(place: Place, way: str) -> str:
    """Write to a file beside the workspace, by one of several names for it."""
    target = f"{place.outside}/target.txt"
    if way == "link":
        way = f"{place.workspace}/link"
        os.symlink(target, way)
    return _write(way.format(target=target, kernel=place.kernel))


def write_by_hard_link(place: Place) -> str:
    """Give the file outside a second name in the workspace, and write to that."""
    os.link(f"{place.outside}/target.txt", f"{place.workspace}/linked.txt")
    return _write(f"{place.workspace}/linked.txt")


def take_outside_file(place: Place) -> str:
    """Move a file from outside into the workspace."""
    os.rename(f"{place.outside}/target.txt", f"{place.workspace}/taken.txt")
    return "moved it"


def write_in_home(place: Place, name: str) -> str:
    """Write a file that the person's next shell or interpreter obeys."""
    os.makedirs(os.path.dirname(f"{place.home}/{name}"), exist_ok=True)
    return _write(f"{place.home}/{name}")


def leave_file(place: Place, folder: str) -> str:
    """Leave a file where all programs share them."""
    return _write(f"{folder}/{place.stamp}")


def write_in_workspace(place: Place, *names: str) -> str:
    """Write files in the workspace, and whatever folders they need."""
    for name in names:
        path = f"{place.workspace}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path)
    return f"wrote {', '.join(names)}"


def replace_by_rename(place: Place, name: str) -> str:
    """Write beside a file, and move that in its place."""
    _write(f"{place.workspace}/.new")
    os.replace(f"{place.workspace}/.new", f"{place.workspace}/{name}")
    return f"replaced {name}"


def replace_folder(place: Place, name: str, file: str) -> str:
    """Move a folder away and make one of the same name."""
    os.rename(f"{place.workspace}/{name}", f"{place.workspace}/aside")
    os.mkdir(f"{place.workspace}/{name}")
    return _write(f"{place.workspace}/{name}/{file}")


def write_after_meeting(place: Place, name: str) -> str:
    """Write to a file once it was saved from outside, which gives the name to another file."""
    place.meet()
    return _write(f"{place.workspace}/{name}")


def plant_modules(place: Place) -> str:
    """Put modules beside the notebook that are imported before the ones that are meant."""
    return write_in_workspace(place, *place.modules)


def make_setuid(place: Place) -> str:
    """Make a file that runs with its owner's rights, in every way there is."""
    import ctypes  # noqa: PLC0415 - the other attempts need none

    def copy(way: str) -> str:
        return _write(f"{place.workspace}/{way}").removeprefix("wrote ")

    def chmod(path: str, mode: int) -> None:
        os.chmod(path, mode)

    def by_descriptor() -> None:
        file = os.open(copy("fchmod"), os.O_RDONLY)
        try:
            os.fchmod(file, 0o4755)
        finally:
            os.close(file)

    def by_opening() -> None:
        os.umask(0)
        os.close(os.open(f"{place.workspace}/open", os.O_CREAT | os.O_WRONLY, 0o4755))

    def by_fchmodat2() -> None:
        asked("fchmodat2", AT_CWD, copy("fchmodat2").encode(), 0o4755, 0)

    def by_openat2() -> None:
        how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
        path = f"{place.workspace}/openat2".encode()
        os.close(asked("openat2", AT_CWD, path, how, ctypes.sizeof(how)))

    ways: dict[str, Callable[[], None]] = {
        "chmod": lambda: chmod(copy("chmod"), 0o4755),
        "setgid": lambda: chmod(copy("setgid"), 0o2755),
        "fchmod": by_descriptor,
        "open": by_opening,
        "openat2": by_openat2,
        "fchmodat2": by_fchmodat2,
        "mknod": lambda: os.mknod(f"{place.workspace}/mknod", 0o104755),
    }
    reasons = []
    for name, way in ways.items():
        try:
            way()
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}")
    if len(reasons) == len(ways):
        raise PermissionError(0, "; ".join(reasons))
    return "made one"


def make_device(place: Place) -> str:
    """Make a node for a device, here the harmless one that swallows everything."""
    os.mknod(f"{place.workspace}/device", 0o020666, os.makedev(1, 3))
    return "made a device"


def work_where_it_is(_: Place) -> str:
    """Run in a working folder outside the workspace."""
    return f"runs in {os.getcwd()}"


def write_where_it_is(_: Place, name: str) -> str:
    """Write in the working folder."""
    return _write(name)
