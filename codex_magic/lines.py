"""How IPython reads our lines: text that stays literal, cells without a prompt, what TAB offers.

IPython would take ``%codex ask why?`` for a request for help. The transformer here is found at the
same place as IPython's own and goes first; it is told apart from help (``%codex?``) by the word
behind ``%codex``. Cells that begin with a cell magic are never looked at: their text is a prompt.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from IPython.core.inputtransformer2 import TokenTransformBase, find_end_of_continued_line

from codex_magic import cell

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

LITERAL: Final = ("ask", "steer")
"""Subcommands whose text goes to the model as it is."""

AUDITED: Final = ("20", "100")
"""How many commands ``%codex audit`` is offered to show."""

OF_THREADS: Final = ("show", "switch", "new", "rename", "archive", "delete")
"""Subcommands that take the name of a thread."""

FLAGS: Final[Mapping[str, Sequence[str]]] = {
    "show": ("--md",),
    "delete": ("--yes",),
    "login": ("--browser", "--api-key"),
}

MATCHER: Final = "codex_magic.options"


class LiteralLine(TokenTransformBase):
    """Turns ``%codex ask TEXT`` into a call with exactly that text."""

    priority = 1  # before help (5) and magics (10), which begin at the same place

    @classmethod
    def find(cls, tokens_by_line: Sequence[Sequence[Any]]) -> LiteralLine | None:
        """Return a transformer for the first such line, if there is one."""
        for line in tokens_by_line:
            words = [token for token in line if token.string.strip()]
            strings = [token.string for token in words[:3]]
            if strings[:2] == ["%", "codex"] and strings[2:] and strings[2] in LITERAL:
                return cls(words[0].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return `lines` with that line as Python."""
        begin, column = self.start_line, self.start_col
        end = find_end_of_continued_line(lines, begin)
        text = "".join(lines[begin : end + 1])[column:].rstrip("\n")
        _, _, rest = text.partition("codex")
        call = f"get_ipython().run_line_magic('codex', {rest.strip()!r})\n"
        return [*lines[:begin], lines[begin][:column] + call, *lines[end + 1 :]]


def with_a_body(lines: list[str]) -> list[str]:
    """Return a cell's lines, below a lone ``%%codex`` line an empty one.

    IPython refuses a cell magic without a body and recommends the line magic; now `cell` gets to
    say what is missing, or to show the help that was asked for.
    """
    words = "".join(lines).split()
    alone = words[:1] == ["%%codex"] and sum(bool(line.strip()) for line in lines) == 1
    return [*lines, "\n"] if alone else lines


with_a_body.has_side_effects = True  # type: ignore[attr-defined]  # not to end a cell being typed


def install(
    shell: InteractiveShell,
    subcommands: Mapping[str, str],
    threads: Callable[[], Sequence[str]],
    lessons: Callable[[], Sequence[str]],
) -> Callable[[], None]:
    """Add the transformer and the completions to `shell`; return what takes them away again."""

    def options(context: CompletionContext) -> Any:
        from IPython.core.completer import SimpleCompletion  # noqa: PLC0415

        above = "\n".join(context.full_text.split("\n")[: context.cursor_line])
        if looks_up(context.text_until_cursor, above):
            begun = "" if context.text_until_cursor[-1:].isspace() else context.token
            return _variables(shell, begun)
        find = completions(context.text_until_cursor, above, subcommands)
        found = find(threads(), lessons()) if find else []
        if find and not found:
            # Where nothing is offered, IPython would offer Python's names; so what stands there is.
            found = [context.token]
        done = [SimpleCompletion(text, type="option") for text in found]
        return {"completions": done, "suppress": find is not None}

    options.completion_matcher_identifier = MATCHER  # type: ignore[attr-defined]
    options.matcher_api_version = 2  # type: ignore[attr-defined]
    options.matcher_identifier = MATCHER  # type: ignore[attr-defined]
    options.matcher_priority = 1000  # type: ignore[attr-defined]

    transformers = shell.input_transformer_manager.token_transformers
    transformers.insert(0, LiteralLine)
    shell.input_transformers_cleanup.append(with_a_body)
    completer = shell.Completer
    if completer is not None:
        completer.custom_matchers.append(options)

    def remove() -> None:
        transformers.remove(LiteralLine)
        shell.input_transformers_cleanup.remove(with_a_body)
        if completer is not None:
            completer.custom_matchers.remove(options)

    return remove


def looks_up(text: str, above: str) -> bool:
    """Whether a file or a variable may stand at the end of `text`, a line up to the cursor."""
    stripped = text.lstrip()
    is_ours = not above.strip() and stripped.startswith("%%codex ")
    return is_ours and cell.is_looked_up(stripped.removeprefix("%%codex "))


def _variables(shell: InteractiveShell, begun: str) -> Any:
    """Return the person's variables as completions; IPython adds the files that begin so."""
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415

    names = [n for n in shell.user_ns if n not in shell.user_ns_hidden and not n.startswith("_")]
    done = [SimpleCompletion(n, type="variable") for n in names if n.startswith(begun)]
    # With nothing begun, IPython would add all of Python's words.
    return {"completions": done, "suppress": not begun}


Found = Callable[[Sequence[str], Sequence[str]], list[str]]


def completions(text: str, above: str, subcommands: Mapping[str, str]) -> Found | None:
    """Return what finds the completions of a line up to the cursor, or None if it is not ours.

    The lines `above` tell a prompt from code: what stands below ``%%codex`` is never completed.
    """
    stripped = text.lstrip()
    if above.split()[:1] == ["%%codex"]:
        return None
    if not above.strip() and stripped.startswith("%%codex "):
        line = stripped.removeprefix("%%codex ")
        return lambda threads, _lessons: cell.complete(line, threads=threads)
    if stripped.startswith("%codex "):
        words = stripped.removeprefix("%codex ").split(" ")
        if len(words) == 1:
            return lambda _threads, _lessons: [w for w in subcommands if w.startswith(words[0])]
        if words[0] == "audit":
            counts = AUDITED if len(words) == len(("audit", "N")) else ()
            return lambda _threads, _lessons: [n for n in counts if n.startswith(words[-1])]
        if words[0] == "replay":
            return lambda _t, lessons: [w for w in (*lessons, "off") if w.startswith(words[-1])]
        if words[0] in FLAGS and words[-1].startswith("-"):
            return lambda _threads, _lessons: [
                f for f in FLAGS[words[0]] if f.startswith(words[-1])
            ]
        if words[0] == "resume":
            return lambda _threads, _lessons: [w for w in ("last",) if w.startswith(words[-1])]
        if words[0] in OF_THREADS and len(words) == len(("switch", "NAME")):
            return lambda threads, _lessons: [
                shlex.quote(name) for name in threads if name.startswith(words[-1])
            ]
        return lambda _threads, _lessons: []
    return None
