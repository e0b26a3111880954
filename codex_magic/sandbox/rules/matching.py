"""Whether one rule is about one command, word by word; no shell text is looked at."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, Literal

from codex_magic.sandbox.rules.shelltext import Expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codex_magic.sandbox.rules.rule import Rule

# `maybe` is a word that only the running shell knows, where the rule wants a certain one.
Certainty = Literal["yes", "maybe", ""]

# The folders whose programs are the system's.
TRUSTED: Final = frozenset(("/usr/bin", "/bin", "/usr/local/bin"))
# The options before the first words that take the next word as their value.
VALUES: Final[dict[str, frozenset[str]]] = {
    "git": frozenset(
        (
            *("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--super-prefix"),
            *("--config-env", "--attr-source"),
        )
    ),
    "pip": frozenset(
        (
            *("--python", "--log", "--proxy", "--retries", "--timeout", "--exists-action"),
            *("--trusted-host", "--cert", "--client-cert", "--cache-dir"),
        )
    ),
    "npm": frozenset(("--prefix", "-C", "--userconfig", "--registry", "-w", "--workspace")),
    "docker": frozenset(("-H", "--host", "-c", "--context", "--config", "-l", "--log-level")),
    "uv": frozenset(("--directory", "--project", "--config-file", "--cache-dir", "--color")),
}


def begins(rule: Rule, argv: Sequence[str]) -> bool:
    """Return whether a rule that allows is about `argv`."""
    folder, name = posixpath.split(argv[0])
    words = [name if folder in TRUSTED else argv[0], *argv[1:]]
    return len(words) >= len(rule.pattern) and all(
        word in element and not isinstance(word, Expanded)
        for word, element in zip(words, rule.pattern, strict=False)
    )


def hits(rule: Rule, argv: Sequence[str]) -> Certainty:
    """Return whether a rule that asks or denies is about `argv`."""
    names = names_of(argv[0])
    if not names.intersection(rule.pattern[0]):
        return ""
    arguments = argv[1:]
    end = _end_of_options(arguments)
    options = [word for word in arguments[:end] if is_option(word)]
    operands = {_tidied(word) for word in (*arguments[:end], *arguments[end + 1 :])}
    wanted = [
        element
        for element in rule.pattern[1:]
        if not any(
            _has_option(options, token) if is_option(token) else _has_path(operands, token)
            for token in element
        )
    ]
    if any(all(is_option(token) or _is_path(token) for token in element) for element in wanted):
        return ""
    values = frozenset[str]().union(*(VALUES.get(name, ()) for name in names))
    return _has_first_words(arguments, wanted, values)


def names_of(word: str) -> set[str]:
    """Return the names under which a rule may know the program `word`."""
    name = posixpath.basename(word.rstrip("/"))
    unversioned = re.sub(r"(?<=[a-z])-?\d+(?:\.\d+)*\Z", "", name)
    return {word, name, unversioned} | {text.lower() for text in (name, unversioned)}


def next_words(
    arguments: Sequence[str], starts: Iterable[int], values: frozenset[str] = frozenset()
) -> list[int]:
    """Return where the next word may be, whichever options but `values` take one."""
    reached = set(starts)
    end = _end_of_options(arguments)
    places = []
    for at in range(min(reached, default=0), len(arguments)):
        if at not in reached:
            continue
        word = arguments[at]
        if at == end:
            reached.add(at + 1)
        elif at < end and is_option(word):
            reached |= {at + 2} if word in values else {at + 1} if "=" in word else {at + 1, at + 2}
        else:
            places.append(at)
    return places


def is_option(word: str) -> bool:
    """Return whether a word is an option, and not the mark that ends them."""
    return word.startswith("-") and word not in {"-", "--"}


def _is_path(token: str) -> bool:
    return token.startswith(("/", "~", "$"))


def _end_of_options(arguments: Sequence[str]) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


def _has_first_words(
    arguments: Sequence[str], wanted: Sequence[Sequence[str]], values: frozenset[str]
) -> Certainty:
    """Return whether the first words that are no options are those that are `wanted`."""
    starts = {0}
    maybe = False
    for element in wanted:
        places = next_words(arguments, starts, values)
        starts = {at + 1 for at in places if arguments[at] in element}
        unknown = {at + 1 for at in places if isinstance(arguments[at], Expanded)}
        maybe |= bool(unknown - starts)
        starts |= unknown
        if not starts:
            return ""
    return "maybe" if maybe else "yes"


def _has_option(options: Iterable[str], token: str) -> bool:
    """Return whether `token` is among `options`, alone, abbreviated, or with others in one word."""
    long = token.startswith("--")
    for word in options:
        name = word.partition("=")[0]
        if name == token or (long and len(name) > len("--") and token.startswith(name)):
            return True
        if len(token) == len("-x") and not word.startswith("--") and token[1] in name[1:]:
            return True
    return False


def _has_path(operands: Iterable[str], token: str) -> bool:
    if not _is_path(token):
        return False
    if token.endswith("/") and len(token) > 1:
        return any(f"{word}/".startswith(token) for word in operands)
    return token in operands


def _tidied(word: str) -> str:
    """Return a path as it is usually written, any other word as it is."""
    if not _is_path(word):
        return word
    tidy = posixpath.normpath(word.replace("${HOME}", "$HOME"))
    return "/" + tidy.lstrip("/") if tidy.startswith("/") else tidy
