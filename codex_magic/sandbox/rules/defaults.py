"""The rules that come with the package: what is asked about where nobody said otherwise.

They speak of what cannot be undone, what leaves the machine, and what brings the code of others.
A person's own rules stand beside them; the strictest wins.
"""

from __future__ import annotations

from typing import Final

from codex_magic.sandbox.rules.rule import Rule, Verdict

RECURSIVE: Final = ("-r", "-R", "--recursive")
EVERYTHING: Final = (
    *("/", "/*", "~", "~/*", "$HOME", "$HOME/*", "/bin", "/boot", "/dev", "/etc", "/home", "/lib"),
    *("/opt", "/proc", "/root", "/sbin", "/sys", "/usr", "/var", "/bin/*", "/etc/*", "/home/*"),
    *("/lib/*", "/root/*", "/usr/*", "/var/*"),
)
MAKERS: Final = (
    *("mkfs", "mke2fs", "mkswap"),
    *(
        f"mkfs.{kind}"
        for kind in (
            *("bfs", "btrfs", "cramfs", "exfat", "ext", "f2fs", "fat", "jfs", "minix", "msdos"),
            *("ntfs", "vfat", "xfs"),
        )
    ),
)
INSTALLS: Final = "installs packages, which run code of others"
NETWORK: Final = "talks to other machines"
SYSTEM: Final = "changes the machine, not the workspace"
OTHERS: Final = "runs a program that it is given"
LOSES: Final = "loses work that is not committed"


def _ask(reason: str, *pattern: str | tuple[str, ...]) -> Rule:
    return _rule("ask", reason, pattern)


def _deny(reason: str, *pattern: str | tuple[str, ...]) -> Rule:
    return _rule("deny", reason, pattern)


def _rule(verdict: Verdict, reason: str, pattern: tuple[str | tuple[str, ...], ...]) -> Rule:
    return Rule(tuple((e,) if isinstance(e, str) else e for e in pattern), verdict, reason)


DEFAULTS: Final[tuple[Rule, ...]] = (
    _deny("deletes the whole system or the whole home", "rm", RECURSIVE, EVERYTHING),
    _deny("changes the whole system or the whole home", ("chmod", "chown"), "-R", EVERYTHING),
    _deny("overwrites a disk", MAKERS, "/dev/"),
    _deny("overwrites a disk", "wipefs", "/dev/"),
    _ask("deletes folders with all that is in them", "rm", RECURSIVE),
    _ask("deletes what it finds", ("find", "gfind"), "-delete"),
    _ask("deletes beyond recovery", ("shred", "wipefs", "srm")),
    _ask("writes to a disk or over a file byte by byte", "dd"),
    _ask("makes a file system, which deletes what was there", MAKERS),
    _ask("changes who may use a whole folder", ("chmod", "chown", "chgrp"), ("-R", "--recursive")),
    _ask("runs with more rights", ("sudo", "doas", "su", "runuser", "pkexec", "chroot")),
    _ask(NETWORK, ("curl", "wget", "aria2c", "nc", "ncat", "netcat", "nc.openbsd", "socat")),
    _ask(NETWORK, ("nc.traditional", "ssh", "scp", "sftp", "rsync", "ftp", "telnet", "mosh")),
    _ask("sends commits to another machine", "git", ("push", "send-email", "send-pack")),
    _ask(OTHERS, "git", ("filter-branch", "difftool", "mergetool")),
    _ask(OTHERS, "git", "bisect", "run"),
    _ask(OTHERS, "git", "submodule", "foreach"),
    _ask(OTHERS, "git", "rebase", ("-x", "--exec")),
    _ask(OTHERS, "git", ("--upload-pack", "--receive-pack")),
    _ask(LOSES, "git", "clean", ("-f", "--force")),
    _ask(LOSES, "git", "reset", "--hard"),
    _ask(INSTALLS, ("pip", "pipx"), ("install", "download", "wheel", "uninstall", "run")),
    _ask(INSTALLS, "uv", "pip", ("install", "uninstall", "sync")),
    _ask(INSTALLS, "uv", ("add", "sync", "tool", "remove")),
    _ask(INSTALLS, ("conda", "mamba", "micromamba"), ("install", "create", "update", "remove")),
    _ask(INSTALLS, ("poetry", "pdm", "pipenv"), ("install", "add", "update", "sync")),
    _ask(INSTALLS, ("npm", "pnpm", "yarn", "bun"), ("install", "i", "add", "ci", "exec", "dlx")),
    _ask(INSTALLS, ("npx", "bunx", "uvx", "easy_install")),
    _ask(INSTALLS, ("gem", "cargo", "go"), "install"),
    _ask(SYSTEM, ("apt", "apt-get", "aptitude", "dpkg", "dnf", "yum", "rpm", "pacman", "apk")),
    _ask(SYSTEM, ("zypper", "snap", "flatpak", "brew", "port", "nix-env")),
    _ask(SYSTEM, ("systemctl", "service", "shutdown", "reboot", "halt", "poweroff", "mount")),
    _ask("runs something later", ("crontab", "at", "batch")),
    _ask("ends programs by name", ("killall", "pkill", "skill", "xkill")),
    _ask("starts programs outside of the sandbox", ("docker", "podman", "nerdctl", "kubectl")),
)
