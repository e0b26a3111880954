"""The program that confines one command without namespaces, and keeps all it starts together.

It is `main` in a ``python -I -S`` of its own: it knows nothing of the package, and imports as
little as it can, because it starts anew for every command. It forks, gives up what the command
must not have, and says so on the plan's descriptor and by an empty line on standard output; with a
line from its standard input the command begins. When that input closes, its parent dies or SIGTERM
comes, all is killed; so it is when the command ends by itself.

It decides nothing: what is permitted stands in the plan.
"""

# What these ask for would be imported first, and take longer than all that is done here.
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH118, PTH208, SIM105

import _ctypes
import errno
import os
import select
import sys

TYPE_CHECKING = False  # the module with the true one takes as long to import as all others here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Plan = dict[str, Any]

PROC = "/proc"
SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGSTOP, SIGXFSZ = 9, 13, 15, 17, 19, 25  # signal(7)
SIGINFO_BYTES = 128  # signalfd(2)
BLOCK, SET_MASK = 0, 2  # sigprocmask(2)
PDEATHSIG, CAPBSET_DROP, SECCOMP, SECUREBITS = 1, 24, 22, 28  # prctl(2)
CHILD_SUBREAPER, NO_NEW_PRIVS, CAP_AMBIENT, AMBIENT_CLEAR_ALL = 36, 38, 47, 4
FILTER = 2
LOCKED_WITHOUT_ROOT = 0b11101111  # capabilities(7): all securebits and locks, but for KEEP_CAPS
CAPABILITIES_V3 = 0x20080522
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # landlock(7): the same everywhere
PATH_BENEATH = 1
RIGHTS_OVER_FILES = 0b1100000000000111
FOLDER, KIND = 0o040000, 0o170000  # inode(7)
NOT_FOUND, NOT_RUNNABLE = 127, 126
PAUSE_MS = 5


# What `ctypes` makes of the module below it, as far as it is needed here: to import all of that
# would take a third of the time that a command costs.
class Number(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 - no other door
    """An int of C."""

    _type_ = "i"


class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 - likewise
    """A char of C."""

    _type_ = "c"


class Function(_ctypes.CFuncPtr):
    """A function of C that returns an int, and keeps the errno."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Number


LIBC = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # none: what Python itself is made of


def room(size: int) -> "Any":
    """Return memory of `size` bytes, its content in ``raw``."""
    return (Byte * size)()


def ask(name: str, *words: object) -> int:
    """Call the system; raises OSError where it says no."""
    result: int = Function(_ctypes.dlsym(LIBC, name))(*words)
    if result < 0:
        number = _ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def complain(error: BaseException) -> None:
    """Say why there is no confinement."""
    words = [error.filename, error.strerror] if isinstance(error, OSError) else [error]
    said = ": ".join(os.fsdecode(w) if isinstance(w, bytes) else str(w) for w in words if w)
    os.write(2, os.fsencode(f"landlock: {said}\n"))


def prctl(option: int, *words: object) -> int:
    """Call prctl(2), whose unused arguments must be zero."""
    return ask("prctl", option, *(*words, 0, 0, 0, 0)[:4])


def words_of(*numbers: int) -> bytes:
    """Return numbers as the system reads them, eight bytes each."""
    return b"".join(number.to_bytes(8, sys.byteorder) for number in numbers)


WATCHED = words_of(1 << SIGCHLD - 1 | 1 << SIGTERM - 1) + bytes(120)


# --- before the command ----------------------------------------------------------------------


def limit(rlimits: list[tuple[int, int]]) -> None:
    """Lower the limits of this process; one that is lower already stays."""
    for number, most in rlimits:
        now = room(16)
        ask("getrlimit", number, now)
        hard = int.from_bytes(now.raw[8:], sys.byteorder)
        # At the soft limit of processor time a process is told, a second later it is killed.
        bound = min(hard, most + 1 if number == 0 else most)
        ask("setrlimit", number, words_of(min(most, bound), bound))


def drop_capabilities() -> None:
    """Hold none, and be able to hold none again."""
    prctl(NO_NEW_PRIVS, 1)
    for number in range(64):
        try:
            prctl(CAPBSET_DROP, number)
        except OSError:  # there is no such one, or we hold none that would let us
            break
    try:
        prctl(SECUREBITS, LOCKED_WITHOUT_ROOT)
    except PermissionError:  # whoever may not set them has nothing to lose by them
        pass
    prctl(CAP_AMBIENT, AMBIENT_CLEAR_ALL)
    header = CAPABILITIES_V3.to_bytes(4, sys.byteorder) + bytes(4)
    ask("capset", header, bytes(24))


def restrict(handled: tuple[int, int, int], grants: list[tuple[bytes, int]]) -> None:
    """Leave this process, and all that come from it, only what `grants` give it."""
    attributes = words_of(*handled)
    ruleset = ask("syscall", CREATE_RULESET, attributes, len(attributes), 0)
    for path, rights in grants:
        try:
            # A link that took the place of a folder would lead elsewhere.
            place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # gone, or closed to us and so to the command
            continue
        folder = os.fstat(place).st_mode & KIND == FOLDER
        given = rights if folder else rights & RIGHTS_OVER_FILES
        if given:
            rule = words_of(given) + place.to_bytes(4, sys.byteorder)
            ask("syscall", ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
        os.close(place)
    ask("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_calls(program: bytes) -> None:
    """Filter the system calls of this process and all that come from it."""
    held = room(len(program))
    held.raw = program
    # seccomp(2): the number of instructions, each of eight bytes, and where they are.
    description = words_of(0, _ctypes.addressof(held))
    length = (len(program) // 8).to_bytes(2, sys.byteorder)
    prctl(SECCOMP, FILTER, length + description[2:])


def execute(command: list[bytes], env: dict[bytes, bytes], report: int) -> None:
    """Become the command, or end as a shell would that cannot."""
    name = command[0]
    folders = env.get(b"PATH", b"/usr/bin:/bin").split(b":")
    places = [name] if b"/" in name else [(folder or b".") + b"/" + name for folder in folders]
    failure = None
    for place in places:
        try:
            try:
                os.execve(place, command, env)  # noqa: S606 - that is its purpose
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                script = [b"/bin/sh", place, *command[1:]]
                os.execve(script[0], script, env)  # noqa: S606 - likewise
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = failure or error.strerror
    reason = (failure or "not found").encode()
    os.write(report, b'{"not-started": 1}\n')
    os.write(2, b"sandbox: 1: exec: %b: %b\n" % (name, reason))
    os._exit(NOT_RUNNABLE if failure else NOT_FOUND)


def become(plan: "Plan", keeper: int, mask: "Any", ready: int) -> None:
    """Give everything up, wait to be let in, and become the command."""
    os.setsid()
    prctl(PDEATHSIG, SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)
    # Python ignores these two; the others have been left as they were.
    for number in (SIGPIPE, SIGXFSZ):
        ask("signal", number, None)
    ask("sigprocmask", SET_MASK, mask, None)
    os.chdir(plan["cwd"])
    nothing = os.open("/dev/null", os.O_RDONLY)
    limit(plan["rlimits"])
    drop_capabilities()
    restrict(plan["handled"], plan["grants"])
    if plan["filtered"]:
        filter_calls(plan["filtered"])
    os.write(ready, b"\n")
    if os.read(0, 1) != b"\n":
        os._exit(1)
    os.dup2(nothing, 0)
    execute(plan["command"], plan["env"], plan["status"])


# --- while it runs, and after ----------------------------------------------------------------


def content(path: str) -> bytes:
    """Return what a file of the system says; nothing if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError:  # its process ended
        pass
    finally:
        os.close(fd)
    return b"".join(parts)


def descendants(first: int) -> list[int]:
    """Return all processes below `first`, parents before children."""
    found = []
    waiting = [first]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = os.listdir(f"{PROC}/{pid}/task")
        except OSError:  # it ended
            continue
        for task in tasks:
            born = [int(word) for word in content(f"{PROC}/{pid}/task/{task}/children").split()]
            found += born
            waiting += born
    return found


def send(pids: "Iterable[int]", number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def kill_below(first: int, reap: "Callable[[], bool]") -> None:
    """Kill everything below `first`; `reap` returns whether some of it is left."""
    while True:
        # What is stopped starts no more; only then is the list of them complete.
        stopped = set()
        while new := [pid for pid in descendants(first) if pid not in stopped]:
            send(new, SIGSTOP)
            stopped.update(new)
        send(stopped, SIGKILL)
        if not reap():
            return


def reaped() -> tuple[dict[int, int], bool]:
    """Return the ends of processes that there are by now, and whether others live."""
    ends: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ends, False
        if not pid:
            return ends, True
        ends[pid] = status


def discard(top: bytes) -> None:
    """Remove the folder `top`, how deep and closed it may be."""
    waiting = [top]
    asides = 0
    while waiting:
        folder = waiting.pop()
        for entry in list(os.scandir(folder)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            # Brought up to the top, no path becomes too long.
            aside = os.path.join(top, b"-%d" % asides)
            asides += 1
            os.chmod(entry.path, 0o700)
            os.rename(entry.path, aside)
            waiting.append(aside)
        if folder != top:
            os.rmdir(folder)
    os.rmdir(top)


def watch(command: int, told: int, ready: int, tell: "Callable[[str, int], None]") -> int | None:
    """Return the status with which the command ended; None if it has to be ended."""
    poll = select.poll()
    for fd, what in ((0, 0), (told, select.POLLIN), (ready, select.POLLIN)):
        poll.register(fd, what)  # of standard input only the end: its line is the command's
    begun = False
    while True:
        for fd, _ in poll.poll():
            if fd == ready:
                poll.unregister(ready)
                if begun := bool(os.read(ready, 1)):
                    tell("child-pid", command)
                    os.write(1, b"\n")
                    nothing = os.open("/dev/null", os.O_WRONLY)
                    os.dup2(nothing, 1)
            elif fd == told:
                arrived = os.read(told, 64 * SIGINFO_BYTES)
                numbers = range(0, len(arrived), SIGINFO_BYTES)
                if SIGTERM.to_bytes(4, sys.byteorder) in {arrived[n : n + 4] for n in numbers}:
                    return None
            else:
                return None
        ends, _ = reaped()
        if command in ends:
            return ends[command] if begun else None


def begin(plan: "Plan", mask: "Any") -> tuple[int, int]:
    """Fork what will be the command; return it, and where it says that it waits."""
    keeper = os.getpid()
    ready, is_ready = os.pipe()
    command = os.fork()
    if not command:
        try:
            become(plan, keeper, mask, is_ready)
        except BaseException as error:  # noqa: BLE001 - the fork must never go on as its parent
            complain(error)
        finally:
            os._exit(1)
    os.close(is_ready)
    return command, ready


def end(told: int) -> None:
    """Kill all that is left of the command, and wait until it is gone."""
    poll = select.poll()
    poll.register(told, select.POLLIN)

    def reap() -> bool:
        _, more = reaped()
        if more and poll.poll(PAUSE_MS):
            os.read(told, 64 * SIGINFO_BYTES)
        return more

    kill_below(os.getpid(), reap)


def keep(plan: "Plan") -> None:
    """Start the command, and let nothing of it live longer than it may."""
    report = plan["status"]
    os.set_inheritable(report, False)  # noqa: FBT003 - it takes no names

    def tell(name: str, number: int) -> None:
        try:
            os.write(report, b'{"%b": %d}\n' % (name.encode(), number))
        except BrokenPipeError:  # nobody is left to be told
            pass

    mask = room(128)
    ask("sigprocmask", BLOCK, WATCHED, mask)
    told = ask("signalfd", -1, WATCHED, os.O_CLOEXEC)
    prctl(PDEATHSIG, SIGTERM)
    if os.getppid() != plan["parent"]:
        return
    prctl(CHILD_SUBREAPER, 1)
    command, ready = begin(plan, mask)
    try:
        status = watch(command, told, ready, tell)
    except OSError:  # nobody reads any more
        status = None
    end(told)
    tell("survivors", 0)
    try:
        discard(plan["scratch"])
    except OSError:  # it is the parent's turn
        pass
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        tell("exit-code", code if code >= 0 else 128 - code)


def main(plan: "Plan") -> None:
    """Keep the command that `plan` describes, and end."""
    try:
        keep(plan)
    except OSError as error:
        complain(error)
    os._exit(0)
