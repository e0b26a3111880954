"""Rules as a person writes them, in TOML: read, and held against their own examples."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import SetupError
from codex_magic.sandbox.rules.judging import applies
from codex_magic.sandbox.rules.rule import WORDS, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_magic.sandbox.rules.rule import Example

KEYS: Final = ("decision", "match", "not_match", "pattern", "reason")


def load(text: str) -> tuple[Rule, ...]:
    """Return the rules of a TOML text, its ``[[rule]]`` tables.

    Raises
    ------
    SetupError
        It is no such text, or a rule does not do what its examples say.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"The rules are not TOML: {error}", hint="Correct that line") from None
    tables = document.pop("rule", [])
    if document or not isinstance(tables, list):
        found = next(iter(document), "rule")
        raise SetupError(f"The rules hold {found!r}", hint="Write each rule under [[rule]]")
    return parse(tables)


def parse(entries: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Return the rules that `entries` describe.

    Raises
    ------
    SetupError
        An entry is no rule, or it does not do what its examples say.
    """
    return tuple(_rule(entry, f"Rule {number}") for number, entry in enumerate(entries, start=1))


def _rule(entry: Mapping[str, Any], named: str) -> Rule:
    if not isinstance(entry, Mapping):
        raise SetupError(f"{named} is not a table", hint="Write it under [[rule]]")
    if unknown := sorted(str(key) for key in entry if key not in KEYS):
        raise SetupError(
            f"{named} has the unknown key {unknown[0]!r}", hint=f"Use {', '.join(KEYS)}"
        )
    decision = entry.get("decision")
    if not isinstance(decision, str) or decision not in WORDS:
        raise SetupError(
            f"{named} has no decision" if decision is None else f"{named} decides {decision!r}",
            hint="Set decision to allow, ask or deny",
        )
    reason = entry.get("reason", "")
    if not isinstance(reason, str):
        raise SetupError(f"{named} has a reason that is not a text", hint="Put it in quotes")
    rule = Rule(
        pattern=_pattern(entry.get("pattern"), named),
        verdict=WORDS[decision],
        reason=reason,
        match=_examples(entry, "match", named),
        not_match=_examples(entry, "not_match", named),
    )
    _check(rule, named)
    return rule


def _pattern(value: object, named: str) -> tuple[tuple[str, ...], ...]:
    elements = value if isinstance(value, (list, tuple)) else []
    pattern = tuple((e,) if isinstance(e, str) else _texts(e) for e in elements)
    if not pattern or not all(element and all(element) for element in pattern):
        raise SetupError(
            f"{named} has no pattern of words",
            hint='Write it like pattern = ["git", ["push", "fetch"]]',
        )
    return pattern


def _examples(entry: Mapping[str, Any], key: str, named: str) -> tuple[Example, ...]:
    value = entry.get(key, [])
    examples = value if isinstance(value, (list, tuple)) else [None]
    read = tuple(e if isinstance(e, str) else _texts(e) for e in examples)
    if not all(read):
        raise SetupError(
            f"{named} has an example under {key} that is no command",
            hint=f'Write it like {key} = ["git push origin", ["git", "push"]]',
        )
    return read


def _texts(value: object) -> tuple[str, ...]:
    """Return a list of texts; of anything else, nothing."""
    texts = value if isinstance(value, (list, tuple)) else ()
    return tuple(texts) if all(isinstance(text, str) for text in texts) else ()


def _check(rule: Rule, named: str) -> None:
    """Raise unless `rule` hits what its examples say it hits, and nothing else of them."""
    for examples, wanted in ((rule.match, True), (rule.not_match, False)):
        for example in examples:
            if applies(rule, example) != wanted:
                does = "does not hit" if wanted else "hits"
                shown = example if isinstance(example, str) else " ".join(example)
                raise SetupError(
                    f"{named} (a rule says {rule.verdict}: {rule.shown()}) {does} its example"
                    f" {shown!r}",
                    hint="Change the pattern or the example",
                )
