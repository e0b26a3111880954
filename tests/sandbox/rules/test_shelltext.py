"""Shell texts: what is read of them, and that real shells start nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_magic.sandbox.rules.shelltext import Expanded, objection, steers, survey

READ = {
    "": [],
    " # only a comment": [],
    "ls -la": [["ls", "-la"]],
    "a && b || c; d | e & f": [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]],
    "a\n\nb # c\nd": [["a"], ["b"], ["d"]],
    "l\\\ns -a \\\n -b": [["ls", "-a", "-b"]],
    "echo a#b '#c' \\#d": [["echo", "a#b", "#c", "#d"]],
    '\'a b\' "c\'d" e\\ f "\\$g\\h"': [["a b", "c'd", "e f", "$g\\h"]],
    "! a": [["a"]],
    "X=1 Y=$(a) b": [["a"], ["b"]],
    "X=1": [],
    "a > f 2>&1 < g >> h arg": [["a", "arg"]],
    "a 2>/dev/null": [["a"]],
    "a &> f": [["a"]],
    "a <<< word": [["a"]],
    "cat <<'E'\n$(a) `b` '\nE\nc": [["cat"], ["c"]],
    "cat <<E\n$(a) `b` $x '\nE\nc": [["cat"], ["a"], ["b"], ["c"]],
    "cat <<-E && c\n\tx\n\tE\nd": [["cat"], ["c"], ["d"]],
    "cat <<A <<'B'\nx\nA\ny\nB\nc": [["cat"], ["c"]],
    "f -m \"$(cat <<'E'\nit's (x\nE\n)\"": [["cat"], ["f", "-m", "$(cat <<'E'\nit's (x\nE\n)"]],
    "python3 - <<'E'\nprint('$(x)')\nE": [["python3", "-"]],
    "a $x ${y} ${z:-w} ${#z} ${z%.*} ${z[@]} $1 $@": [
        ["a", "$x", "${y}", "${z:-w}", "${#z}", "${z%.*}", "${z[@]}", "$1", "$@"]
    ],
    "a *.py [bc] ~/d ~": [["a", "*.py", "[bc]", "~/d", "~"]],
    "a $((1 + 2))": [["a", "$((1 + 2))"]],
    'echo $(a "$(b)") "`c`" ${x:-$(d)}': [
        ["b"],
        ["a", "$(b)"],
        ["c"],
        ["d"],
        ["echo", '$(a "$(b)")', "`c`", "${x:-$(d)}"],
    ],
    "(a; b) 2>&1 | { c; d; }": [["a"], ["b"], ["c"], ["d"]],
    "if a; then b; elif c; then d; else e; fi": [["a"], ["b"], ["c"], ["d"], ["e"]],
    "while a; do b; done < f | c": [["a"], ["b"], ["c"]],
    "until a; do b; done": [["a"], ["b"]],
    'for f in *.py $(a); do b "$f"; done': [["a"], ["b", "$f"]],
    "for f\ndo a; done": [["a"]],
    "while IFS= read -r x; do a; done": [["read", "-r", "x"], ["a"]],
    "time a": [["time", "a"]],
    "diff <(a) <(b x)": [["a"], ["b", "x"], ["diff", "<(a)", "<(b x)"]],
    "exec > >(a)": [["a"], ["exec"]],
    "[ -f x ] && [[ -d y ]]": [["[", "-f", "x", "]"], ["[[", "-d", "y", "]]"]],
    "export A=1 B=$x": [["export", "A=1", "B=$x"]],
    "exec a": [["exec", "a"]],
    "awk '{print $1}' f": [["awk", "{print $1}", "f"]],
    "PAGER=cat a": [["a"]],
    "find . -exec a {} \\;": [["find", ".", "-exec", "a", "{}", ";"]],
    "echo if then": [["echo", "if", "then"]],
    "a -t$'\\t' $'b'": [["a", "-t$'\\t'", "b"]],
    "source a/b && . c": [["source", "a/b"], [".", "c"]],
    "PYTHONUNBUFFERED=1 a": [["a"]],
}
UNCLEAR = [
    "'if' a", "$x", '"$x" a', "$(a) b", "a* b", "~x/a", "{a,b} c", "a $((x))", "a $[1]",
    "((1))", "a ${!x}", "a ${x@P}", "a ${x[y]}", "a ${x:-'}'}", "a ${PATH:=x}", "a $'\\''",
    'a $"b"', "a 'b", 'a "b', "a `b", "a `b\\`c`", "a $(b", "(a", "a)", "a \\", "a\x00",
    "f() { a; }", "function f { a; }", "x=(a b)", "x[0]=1 a", "PATH+=:x a", "PATH=x a",
    "LD_PRELOAD=x a", "IFS=x", "IFS= a", "BASH_ENV=x a", "ENV=x a", "PYTHONPATH=x a",
    "GIT_PAGER=a b", "export PATH=x", "export $x", "read PATH", "declare -i x=1",
    "printf -v PATH x", "for PATH in x; do a; done", "for ((;;)); do a; done",
    "case x in y) a;; esac", "select x in y; do a; done", "coproc a", "eval a", "\\eval a",
    "command eval a", "time eval a", "exec $x", "exec -a x a", "alias a=b", "trap a EXIT",
    "hash -p x a", "mapfile -C a x", "x='a[$(b)]'", "[[ $x -eq 1 ]]", "[[ a && b ]]",
    "[ -v 'a[$(b)]' ]", "bash <<E\na\nE", "sudo sh <<< a", "cat <<E\na", "cat <<E\nEa\nE",
    "cat <<E\na\\\nE\nE", 'cat <<E "\n"\nE', "cat <<$x\n", "a &> f b", "a {x}>f b", "a 12>f b",
    "a > ! b", "a >", "a<(b)#c", "a { b", "=a", "noglob a", "repeat 3 a", "time { a; }",
    "time ! a", "time if a; then b; fi", "a $((x + 1))", "printf $x y",
    "printf $'\\x2dv' PATH x", "command printf -v PATH x",
]  # fmt: skip


@pytest.mark.parametrize(("text", "commands"), READ.items())
def test_a_text_is_read_whole(text: str, commands: list[list[str]]) -> None:
    reading = survey(text)
    assert ([list(command) for command in reading.commands], reading.unclear) == (commands, "")


@pytest.mark.parametrize("text", UNCLEAR)
def test_a_text_that_could_start_more_is_unclear(text: str) -> None:
    assert survey(text).unclear


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("a; eval b; c", (("a",), ("eval", "b"), ("c",))),
        ("a; PATH=x b; c", (("a",), ("b",), ("c",))),
        ("a; 'b", (("a",),)),
        ("a; $x; b", (("a",), ("$x",), ("b",))),
    ],
)
def test_what_can_be_seen_of_an_unclear_text_is_kept(
    text: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    assert survey(text).commands == commands
    assert survey(text).unclear


def test_only_what_the_shell_will_change_is_marked() -> None:
    words = survey("a '$x' \"$x\" *.py '*' [ ] {b,c} {} \\$x x$ ~ ~/y `d` -f$z").commands[-1]
    marked = [str(word) for word in words if isinstance(word, Expanded)]
    assert marked == ["$x", "*.py", "{b,c}", "~", "`d`", "-f$z"]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("a > f 2>> g", ("f", "g")),
        ("a > /dev/null 2>&1 < f", ()),
        ("a >& f; b >| g; c <> h &> i", ("f", "g", "h", "i")),
        ("a $(b > f)", ("f",)),
        ("a > >(b)", (">(b)",)),
        ("cat > f <<E\n> g\nE", ("f",)),
    ],
)
def test_the_files_that_redirections_write_are_told(text: str, files: tuple[str, ...]) -> None:
    assert (survey(text).writes, survey(text).unclear) == (files, "")


def test_a_variable_that_names_a_program_may_have_a_harmless_value() -> None:
    named = [("PATH", "x"), ("LD_X", ""), ("GIT_PAGER", "cat"), ("PAGER", "x"), ("EDITOR", None)]
    assert [steers(name, value) for name, value in named] == [True, True, False, True, True]
    assert not any(steers(name) for name in ("A", "HOME", "PATHS", "LANG", "MY_PATH"))


def test_of_pythons_variables_only_those_that_bring_code_steer() -> None:
    endings = ("PATH", "HOME", "STARTUP", "USERBASE", "INSPECT", "BREAKPOINT", "EXECUTABLE")
    quiet = ("UNBUFFERED", "HASHSEED", "DONTWRITEBYTECODE", "UTF8", "IOENCODING", "")
    found = [e for e in (*endings, "WARNINGS", *quiet) if steers(f"PYTHON{e}", "x")]
    assert found == [*endings, "WARNINGS"]


def test_an_objection_is_about_the_first_word() -> None:
    texts = ("ls eval", "eval ls", "command -v eval", "command -p eval", "exec", "printf %s x")
    assert [bool(objection(text.split())) for text in texts] == [0, 1, 0, 1, 0, 0]


# --- laws ------------------------------------------------------------------------------------

PIECES = (
    "p", "q", "r", "pq", " p ", " q ", "\n", " ", " ", ";", "&", "|", "&&", "||", "(", ")", "#",
    "'", '"', "\\", "`", "$", "$(", "${", "}", "{", "x", "${x:-", "${x#", "$((", "))", "1", "=",
    "~", "<", ">", "<<", "<<-", "<<<", "<<E\n", "<<'E'\n", "\nE\n", "E", "2>", "&>", ">&", "<(",
    ">(", "if ", "then ", "else ", "fi", "for x in ", "for x", "do ", "done", "time ", "! ",
    "[[ ", " ]]", "exec ", "command ", "x=", "x+=", "-", "--", "*", "?", "[", "]", "!", "$'",
    '$"', "\t", ",", "case ", "{ p; }", "$(q)", "`r`", '"$(p)"', "(q)", "echo ", "true ",
    "\\\n", "x=(", "p()", "eval ", "@",
)  # fmt: skip
pieces = st.sampled_from(PIECES)
texts = st.lists(pieces, max_size=14).map("".join)
# Mostly sound, with something odd in between.
mixed = st.lists(st.sampled_from(list(READ)) | pieces, max_size=5).map("".join)
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
STARTERS = {"exec", "command", "time", "."}
MISSING = re.compile(r": (?:exec: )?([^:\n]+): (?:command )?not found$", re.MULTILINE)


def started(shell: str, text: str, folder: str) -> set[str]:
    """The programs that a real shell looks for in an empty PATH."""
    try:
        ran = subprocess.run(
            [str(shutil.which(shell)), "-c", text],
            cwd=folder,
            env={"PATH": folder + "/none", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=5,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return set()
    missing = MISSING.findall(ran.stderr.decode("utf-8", "replace"))
    return {name for name in missing if not name.startswith("$'")}  # bash rewrites odd names


@pytest.mark.skipif(not SHELLS, reason="there is neither dash nor bash")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mixed)
def test_a_real_shell_starts_nothing_that_was_not_read(text: str) -> None:
    reading = survey(text)
    if reading.unclear or re.search("until|while", text):  # it might not end
        return
    seen = {command[0] for command in reading.commands}
    seen |= {w for command in reading.commands if command[0] in STARTERS for w in command}
    with tempfile.TemporaryDirectory() as folder:
        for shell in SHELLS:
            missed = started(shell, text, folder) - seen
            for _ in range(5 if missed else 0):  # two programs' messages may be mixed, once
                missed &= started(shell, text, folder)
            assert not missed, shell


def test_the_control_sees_what_a_real_shell_starts(tmp_path: object) -> None:
    for shell in SHELLS:
        assert started(shell, "p; echo $(q) | true; exec r", str(tmp_path)) == {"p", "q", "r"}


@given(texts | st.text(max_size=60))
def test_reading_ends_and_never_fails_otherwise(text: str) -> None:
    reading = survey(text)
    assert all(reading.commands)


words = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1)


@given(words)
def test_what_is_quoted_is_read_as_it_was(argv: list[str]) -> None:
    text = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
    assert survey(text).commands == (tuple(argv),)
