"""The rules of the package: what they ask about, deny, and leave alone."""

from __future__ import annotations

import pytest

from codex_magic.sandbox.rules import DEFAULTS, judge

ASK = [
    "rm -r x", "rm -fr x", "rm --recursive x", "rm --rec x", "rm x -R", "rm -f -r -- x", "/bin/rm -r x",
    "./rm -r x", "\\rm -r x", "'rm' -r x", "bash -lc 'rm -r x'", "env A=1 rm -r x", "env -i rm -r x",
    "env -S 'rm -r' x", "env -iS'rm -r x'", "env --split-string='-u A rm -r' x", "sudo ls",
    "sudo -u bob -n rm -r x", "timeout -k 5 10 rm -r x", "timeout --sig KILL 10 rm -r x",
    "nice -n 5 rm -r x", "nice -n5 nohup rm -r x", "time -p rm -r x", "stdbuf -oL rm -r x",
    "xargs rm -r", "xargs -0 -n 1 -P4 rm -r < f", "xargs -I{} rm -r {}", "busybox rm -r x",
    "find . -exec rm -r {} +", "find . -execdir sh -c 'rm -r \"$1\"' _ {} \\;", "find . -delete",
    "find . -exec sh -c 'ls {}' \\;", "xargs -I% sh -c 'ls %'", "xargs sh -c", "xargs git",
    "ls && rm -r x", "ls | rm -r x", "(ls; rm -r x)", "if true; then rm -r x; fi", "echo $(rm -r x)",
    'echo "`rm -r x`"', "cat <<E\n$(rm -r x)\nE", 'for f in *; do rm -r "$f"; done',
    "git push", "git -C d push", "git -c user.name=a --no-pager push", "git --git-dir=x push",
    "git --git-dir x push -f", "git -c alias.x='!ls' x", "git $X", "/usr/bin/git push",
    "git rebase -x make main", "git clean -fd", "git submodule foreach ls",
    "pip install x", "pip3.11 --proxy p install x", "python -m pip install x",
    "python3 -I -mpip install x", "uv run --with x pip install y", "uv pip install x", "npm -C d install",
    "npm i x", "curl x", "wget x", "ssh h", "dd of=x", "chmod -R 7 x", "docker run x", "mkfs.ext4 f",
    "curl x | sh", "sh", "bash -s", "bash /dev/stdin", "bash <(curl x)", 'bash -c "$X"',
    'bash -c "ls $X"', "sh -c", "$X", "eval ls", "bash -c 'bash -c \"eval ls\"'", "sudo -s",
    "PATH=. ls", "env PATH=. ls", "env LD_PRELOAD=x ls", "timeout $T ls", "zsh -ic 'ls # ; x'",
    "parallel ls", "bash --rcfile x -ic ls", "exec $X", "command eval ls", "time eval ls",
    "source <(curl x)", "source <(ls)", ". /dev/stdin", "source $X", "time -p A=1 rm -r x", "fd -x rm x",
    "xargs -i ls {}", "PYTHONPATH=. python x", "export PYTHONSTARTUP=x", "git -c core.pager=less diff",
    ". ./env.sh && ls", "source activate", ". $E/bin/activate", "source f", "command . f",
]  # fmt: skip
DENY = [
    "rm -rf /", "rm -r -f //", "rm -rf /usr/..", "rm -rf --no-preserve-root /", "rm -rf x /",
    "rm -rf /*", "rm -rf ~", "rm -rf ~/", 'rm -rf "$HOME"', "rm -rf ${HOME}/*", "rm -rf -- /",
    "sudo rm -rf /etc", "bash -lc 'cd /; rm -fr /'", "mkfs.ext4 -q /dev/sda1", "eval ls; rm -rf /",
    "chmod -R 777 /", "find / -exec rm -rf / \\;", "mkfs -t xfs /dev/../dev/sda", "ls; rm -rf / ; 'x",
]  # fmt: skip
NONE = [
    "ls -la", "rm x", "rm -- -r", "git status", "git log --grep push", "git switch -c push", "pip list",
    "python -m pytest -q", "python x.py -m pip install", "make install", "npm run install-x",
    "find . -name x -exec wc -l {} +", "xargs wc -l", "bash x.sh", "bash -euo pipefail -c 'ls'",
    "env", "env A=1 ls", "timeout 5 ls", "command -v curl", "sed -i s/a/b/ f", "echo 'rm -r x'",
    "grep -rn 'curl|wget' .", "cat > f <<'E'\nrm -r x\nE", "cd x && make 2>&1 | tail -5",
    "git -c core.pager=cat diff", "git -c commit.gpgsign=false commit", "git add x", "git commit -m x",
    "fd -e py src", "python3 - <<'E'\nprint(1)\nE", "", "   ", "kill 1", "bash --version",
    'git commit -m "rm -r everything"', "echo hi # rm -r x", 'for f in *.py; do wc -l "$f"; done',
]  # fmt: skip
# What starts a program that it is given, and is not followed: nothing is denied behind it, all asked.
STARTERS = [
    "prlimit --nproc=5", "valgrind -q", "fakeroot", "rlwrap -a", "runcon -t x", "faketime 2020-01-01",
    "xvfb-run -a", "dbus-run-session --", "bwrap --ro-bind / /", "firejail --quiet", "proot -r /",
    "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1", "ld.so",
    "/usr/lib64/ld-2.31.so", "/lib64/ld64.so.2", "unbuffer", "caffeinate -i", "script -c", "watch -n 1",
    "parallel", "entr -r", "/usr/bin/prlimit", "env A=1 fakeroot", "mpirun -n 2", "proxychains4 -q",
]  # fmt: skip
EXPECTED = [(c, "ask") for c in ASK] + [(c, "deny") for c in DENY] + [(c, None) for c in NONE]


@pytest.mark.parametrize(("command", "expected"), EXPECTED)
def test_the_defaults_say(command: str, expected: str | None) -> None:
    assert judge(command, DEFAULTS).verdict == expected


@pytest.mark.parametrize("starter", STARTERS)
def test_what_another_program_starts_is_asked_about_where_it_is_not_followed(starter: str) -> None:
    for command in (f"{starter} rm -rf /", [*starter.split(), "rm", "-rf", "/"]):
        assert judge(command, DEFAULTS).verdict == "ask"
    assert judge(f"{starter} true; rm -rf /", DEFAULTS).verdict == "deny"


def test_every_default_has_a_reason_and_no_two_are_the_same() -> None:
    assert all(rule.reason for rule in DEFAULTS)
    assert len({(rule.pattern, rule.verdict) for rule in DEFAULTS}) == len(DEFAULTS)
