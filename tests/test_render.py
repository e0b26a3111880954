from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from codex_magic import events as ev
from codex_magic import items as it
from codex_magic.mask import MASK
from codex_magic.render import MIME, live, markdown, plain, saved, view, words, written
from codex_magic.turn import Turn, advance, from_json

RECEIPT = it.Receipt(level="full", mode="workspace-write", duration_s=0.012)
T = it.Text


def command(argv: tuple[str, ...] | str = ("ls",), **known: Any) -> it.CommandExecution:
    ran: dict[str, Any] = {
        "id": "c",
        "status": "completed",
        "outcome": "exit",
        "exit_code": 0,
        "receipt": RECEIPT,
    }
    return it.CommandExecution(command=argv, **{**ran, **known})


def said(text: str) -> it.AgentMessage:
    return it.AgentMessage(id="m", status="completed", text=T(text), phase="final_answer")


def over(*items: it.Item, **known: Any) -> Turn:
    return Turn(**{"status": "completed", "items": items, **known})


RICH = over(
    it.UserMessage(id="prompt", status="completed", text=T("how many?")),
    it.Reasoning(id="r", status="completed", summary=T("**Count** them.")),
    it.Plan(
        id="plan",
        status="completed",
        steps=(
            it.PlanStep(text="look", status="completed"),
            it.PlanStep(text="count", status="in_progress"),
            it.PlanStep(text="tell"),
        ),
        text=T("In this order."),
    ),
    command(("wc", "-l", "a b.csv"), output=T("345 a b.csv\n"), reason="to count"),
    command("grep x $HOME | sort", exit_code=1, status="failed", output=T("")),
    command(
        ("curl", "x.org"),
        status="declined",
        outcome=None,
        exit_code=None,
        receipt=None,
        message="the person said no",
        asked=("use the network",),
        decision="decline by person",
    ),
    command(
        ("sleep", "99"),
        status="failed",
        outcome="timeout",
        exit_code=None,
        message="it took more than 2 s",
        output=T("zzz\n"),
    ),
    command(
        ("true",),
        status="failed",
        outcome="refused",
        exit_code=None,
        receipt=None,
        message="this machine has no sandbox",
    ),
    command(("cat",), status="interrupted", outcome="killed", exit_code=None),
    command(("id",), receipt=it.Receipt(level="none", mode="full-access", duration_s=61.0)),
    it.FileChange(
        id="f",
        status="completed",
        changes=(it.Change(path="a.py", kind="update", diff="-old\n+new"),),
    ),
    it.ToolCall(id="t", status="failed", tool="paint", arguments='{"a":1}', output=T("no")),
    it.WebSearch(id="w", status="completed", query="penguins"),
    it.UnknownItem(id="n", status="completed", kind="hologram", text=T("shimmer")),
    said("**344** penguins."),
    notices=(ev.Notice("resumed from `x`"), ev.Notice("cut", "warning")),
    usage=ev.Usage(input_tokens=12345, output_tokens=67),
    model="a-model",
    tape="first-turn",
    started_at=10.0,
    completed_at=13.25,
)

PLAIN = """\
[x] look
[>] count
[ ] tell
In this order.

$ wc -l 'a b.csv'  -> exit 0 · 12 ms · sandbox full

$ grep x $HOME | sort  -> exit 1 · 12 ms · sandbox full

$ curl x.org  -> declined: the person said no

$ sleep 99  -> it took more than 2 s · 12 ms · sandbox full

$ true  -> refused: this machine has no sandbox

$ cat  -> interrupted · 12 ms · sandbox full

$ id  -> exit 0 · 1 min 1 s · no sandbox

update a.py

tool paint: failed

web search: penguins

hologram: shimmer

**344** penguins.

note: resumed from `x`
note: cut
[a-model · 12,345 tokens in, 67 out · 3.2 s · thread main · played from tape first-turn: no \
model was called]"""

WATCHED = """\
(thinking) **Count** them.

- look
- count
- tell
In this order.

$ wc -l 'a b.csv'
345 a b.csv
-> exit 0 · 12 ms · sandbox full

$ grep x $HOME | sort
-> exit 1 · 12 ms · sandbox full

$ curl x.org
-> declined: the person said no

$ sleep 99
zzz
-> it took more than 2 s · 12 ms · sandbox full

$ true
-> refused: this machine has no sandbox

$ cat
-> interrupted · 12 ms · sandbox full

$ id
-> exit 0 · 1 min 1 s · no sandbox

update a.py

tool paint: failed

web search: penguins

hologram: shimmer

**344** penguins."""

MARKDOWN = """\
<D>Thought</S><I>

**Count** them.

</E>

- [x] look
- [ ] count
- [ ] tell

In this order.

<D>✓ <code>wc -l &#x27;a b.csv&#x27;</code> · exit 0 · 12 ms · sandbox full</S><I>

<small>to count</small>

```text
345 a b.csv
```

</E>

<small>✗ <code>grep x &#36;HOME &#124; sort</code> · exit 1 · 12 ms · sandbox full</small>

<D>✗ <code>curl x.org</code> · declined: the person said no</S><I>

<small>asked to use the network: decline by person</small>

</E>

<D>✗ <code>sleep 99</code> · it took more than 2 s · 12 ms · sandbox full</S><I>

```text
zzz
```

</E>

<small>✗ <code>true</code> · refused: this machine has no sandbox</small>

<small>✗ <code>cat</code> · interrupted · 12 ms · sandbox full</small>

<small>✓ <code>id</code> · exit 0 · 1 min 1 s · no sandbox</small>

<D><code>update a.py</code></S><I>

```diff
-old
+new
```

</E>

<D><code>paint</code> · failed</S><I>

```text
{"a":1}
no
```

</E>

<small>searched the web for penguins</small>

<D>hologram</S><I>

```text
shimmer
```

</E>

**344** penguins.

<small>resumed from &#96;x&#96;</small>

<small>cut</small>

<small>a-model · 12,345 tokens in, 67 out · 3.2 s · thread main · played from tape first-turn: no \
model was called</small>"""
TAGS = {
    "<D>": '<details style="margin: 0.4em 0 0.8em"><summary><small>',
    "</S>": "</small></summary>",
    "<I>": (
        '\n\n<div style="margin: 0.3em 0 0 0.4em; padding-left: 1em; border-left: 3px solid #8885">'
    ),
    "</E>": "</div>\n\n</details>",
}


def spelt(short: str) -> str:
    for tag, whole in TAGS.items():
        short = short.replace(tag, whole)
    return short


def test_a_rich_turn_as_plain_text() -> None:
    assert plain.text(RICH) == PLAIN


def test_a_rich_turn_as_somebody_watches_it() -> None:
    assert plain.body(RICH, live=True) == WATCHED


def test_a_rich_turn_as_markdown() -> None:
    assert markdown.text(RICH) == spelt(MARKDOWN)


def test_a_quiet_turn_is_its_answer_and_whether_it_was_a_tape() -> None:
    played = "played from tape first-turn: no model was called"
    assert plain.text(RICH, quiet=True) == f"**344** penguins.\n\n[{played}]"
    assert markdown.text(RICH, quiet=True) == f"**344** penguins.\n\n<small>{played}</small>"
    asked = msgspec.structs.replace(RICH, tape="")
    assert plain.text(asked, quiet=True) == "**344** penguins."
    assert markdown.text(asked, quiet=True) == "**344** penguins."


def test_a_command_that_waits_for_a_person_says_so() -> None:
    held = it.CommandExecution(id="c", command=("ls",))
    turn = Turn(items=(held, it.CommandExecution(id="d", command=("wc",))), waiting_for="c")
    assert "<code>ls</code> · waiting for your answer" in markdown.text(turn)
    assert "<code>wc</code> · running" in markdown.text(turn)
    assert plain.text(turn).startswith("$ ls  -> waiting for your answer\n\n$ wc  -> running")
    assert plain.text(turn, live=True) == "$ ls\n\n$ wc\n\n(waiting for your answer)"
    running = advance(turn, ev.ApprovalDecided("c", "accept", "person"))
    assert plain.body(running, live=True).startswith(plain.body(turn, live=True))
    assert "waiting" not in plain.text(running, live=True) + markdown.text(running)


def test_a_footer_moves_no_cursor() -> None:
    turn = over(tape="a\x1b[2J\x07", model="m\x9b", thread_name="t\u202e")
    for quiet in (False, True):
        assert set(plain.text(turn, quiet=quiet)).isdisjoint("\x1b\x07\x9b\u202e")


FAILED = over(
    said("Half an"),
    status="failed",
    error=ev.TurnError(message="the stream\nbroke *off*"),
    model="m",
)
STOPPED = over(command(status="in_progress", outcome=None, exit_code=None), model="m")
STOPPED = advance(
    msgspec.structs.replace(STOPPED, status="in_progress"), ev.TurnCompleted("interrupted")
)
ENDS = {
    "failed": (
        FAILED,
        False,
        "Half an\n\nThe turn failed: the stream\nbroke *off*\n[m · thread main]",
        (
            "Half an\n\n**The turn failed: the stream broke &#42;off&#42;**\n\n"
            "<small>m · thread main</small>"
        ),
    ),
    "failed, quiet": (
        FAILED,
        True,
        "Half an\n\nThe turn failed: the stream\nbroke *off*",
        "Half an\n\n**The turn failed: the stream broke &#42;off&#42;**",
    ),
    "failed without a word": (
        over(status="failed", backend="b"),
        False,
        "The turn failed: for an unknown reason\n[b · thread main]",
        "**The turn failed: for an unknown reason**\n\n<small>b · thread main</small>",
    ),
    "interrupted": (
        STOPPED,
        False,
        "$ ls  -> interrupted\n\nThe turn was interrupted\n[m · thread main]",
        (
            "<small>✗ <code>ls</code> · interrupted</small>\n\n**The turn was interrupted**\n\n"
            "<small>m · thread main</small>"
        ),
    ),
    "nothing but a thread": (
        over(thread_name="side"),
        False,
        "[thread side]",
        "<small>thread side</small>",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_a_turn_ended(name: str) -> None:
    turn, quiet, as_plain, as_markdown = ENDS[name]
    if name == "interrupted":
        killed = it.CommandExecution(id="c", command=("ls",), status="interrupted", receipt=RECEIPT)
        assert turn.items == (killed,)
    assert plain.text(turn, quiet=quiet) == as_plain
    assert markdown.text(turn, quiet=quiet) == as_markdown


RUNNING: dict[str, tuple[Turn, str]] = {
    "nothing yet": (Turn(), "<small>thinking …</small>"),
    "thoughts": (
        Turn(items=(it.Reasoning(id="r", summary=T("Hm")),)),
        (
            '<details open style="margin: 0.4em 0 0.8em"><summary><small>Thinking</S>'
            "<I>\n\nHm\n\n</E>"
        ),
    ),
    "a command": (
        Turn(items=(it.CommandExecution(id="c", command=("ls",), output=T("a\n")),)),
        (
            '<details open style="margin: 0.4em 0 0.8em"><summary><small>▸ <code>ls</code> · running'
            "</S><I>\n\n```text\na\n```\n\n</E>"
        ),
    ),
    "an answer": (Turn(items=(it.AgentMessage(id="m", text=T("Let ")),)), "Let "),
}


@pytest.mark.parametrize("name", RUNNING)
def test_a_running_turn_is_open_where_it_runs(name: str) -> None:
    turn, expected = RUNNING[name]
    assert live(turn)["text/markdown"] == spelt(expected)


# --- a terminal's text only grows ------------------------------------------------------------


def test_what_somebody_watches_only_grows(typical: list[ev.Event]) -> None:
    turn, seen = Turn(), [""]
    for event in typical:
        turn = advance(turn, event)
        if not isinstance(event, ev.ToolCallRequested):  # its item follows at once
            seen.append(plain.body(turn, live=True))
    assert [(a, b) for a, b in pairwise(seen) if not b.startswith(a)] == []


# --- whatever a command says is shown, never rendered ----------------------------------------

PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")
hostile = st.lists(
    st.sampled_from(
        ["```", "````", "~~~", "> ", "</details>", "<b>", "\n", "\n\n", "\t", "    ", "x", "$$"]
    )
    | st.sampled_from(
        ["\r", "\x1b[31m", "\u202e", "# h", "- a", "<!--", "|", "`", "\\", "\x00", "</summary>"]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


def blocks(source: str) -> list[tuple[str, str]]:
    return [(token.type, token.content) for token in PARSER.parse(source) if token.content]


@given(hostile)
def test_no_output_ends_its_own_fence(output: str) -> None:
    shown = words.clean(output).rstrip("\n")
    fence = [("fence", f"{shown}\n")] if shown.strip() else []
    summary = "✓ <code>ls</code> · exit 0 · 12 ms · sandbox full"
    start, end = ("<D>", "</S>") if fence else ("<small>", "</small>")
    found = blocks(markdown.text(over(command(output=T(output)), said("Done."))))
    assert found == [
        ("html_block", spelt(f"{start}{summary}{end}") + "\n")
        if fence
        else ("inline", f"{start}{summary}{end}"),
        *([("html_block", spelt("<I>").strip() + "\n")] if fence else []),
        *fence,
        *([("html_block", "</div>\n"), ("html_block", "</details>\n")] if fence else []),
        ("inline", "Done."),
        ("inline", "<small>thread main</small>"),
    ]


@given(hostile)
def test_nothing_in_a_command_is_more_than_text_of_its_summary(text: str) -> None:
    source = markdown.text(over(command(("echo", text)), said("Done.")))
    kinds = {kind for kind, _ in blocks(source)}
    assert kinds <= {"html_block", "inline", "fence"}
    head = source.split("</summary>")[0].split("</code>")[0]
    assert "\n" not in head
    assert set(head.split("<code>")[1]).isdisjoint("<>$`*_[\\|~\"'\x1b\u202e")
    assert source.count("<details") == source.count("</details>") <= 1 or "details" in text


SUMMARIES = {
    "<b>&amp;</b>": "&lt;b&gt;&amp;amp;&lt;/b&gt;",
    "echo $HOME `x` | *y* _z_ [a](b) ~c~ \\d": (
        "echo &#36;HOME &#96;x&#96; &#124; &#42;y&#42; &#95;z&#95; &#91;a](b) &#126;c&#126; &#92;d"
    ),
    "a\nb\tc": "a b c",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07x": "red x",
    "\x1b": "&#92;x1b",
    "a\u202eb\u200bc": "a&#92;u202eb&#92;u200bc",
    "x" * 200: "x" * 88 + " …",
}


@pytest.mark.parametrize("text", SUMMARIES, ids=ascii)
def test_a_commands_text_is_escaped_in_its_summary(text: str) -> None:
    shown = markdown.text(over(command(text)))
    assert shown.split("<code>")[1].split("</code>")[0] == SUMMARIES[text]


def test_a_command_that_does_not_fit_its_summary_is_shown_whole_below() -> None:
    script = "for i in 1 2\ndo echo ```$i\ndone"
    assert ("fence", script + "\n") in blocks(markdown.text(over(command(script))))


def test_a_diff_and_a_tools_answer_are_cleaned_too() -> None:
    turn = over(
        it.FileChange(id="f", changes=(it.Change(path="a\u202e", kind="add", diff="+\u202ex"),)),
        it.ToolCall(id="t", tool="<x>", output=T("\x1b[2Jy")),
        it.UnknownItem(id="n", kind="k", text=T("\u2066z")),
    )
    shown = markdown.text(turn) + plain.text(turn)
    assert "<x>" not in markdown.text(turn)
    assert set(shown).isdisjoint("\u202e\x1b\u2066")


OPEN = [
    "```",
    "```py\nx = 1",
    "~~~ md\n```\nx\n```",
    "````md\n```py\n```",
    "```\n``` x",
    "a\n  ```",
]
IN_OTHERS = ["- ```py\n  x", "1. a\n   ```\n   x", "> ```\n> x", "- a\n  - b\n    ```", "- ```\nx"]
SOUND = [
    "",
    "x",
    "```\nx\n```",
    "``` a`b",
    "    ```",
    "`` ` ``",
    "```md\n```py\n```",
    "~~~\n```\n~~~",
]


@pytest.mark.parametrize("answer", OPEN + IN_OTHERS + SOUND, ids=ascii)
def test_an_answer_does_not_swallow_what_follows(answer: str) -> None:
    assert blocks(markdown.text(over(said(answer))))[-1] == ("inline", "<small>thread main</small>")


@pytest.mark.parametrize("answer", SOUND, ids=ascii)
def test_a_sound_answer_is_not_changed(answer: str) -> None:
    assert written.harmless(answer) == answer


@given(
    st.lists(
        st.sampled_from(["```", "```py", "````", "~~~", "~~~ x", "  ```", "    ```", "``` a`b"])
        | st.sampled_from(["", "text", "  code", "   ~~~~", "```  "])
    )
)
def test_no_fence_of_an_answer_swallows_what_follows(lines: list[str]) -> None:
    answer = "\n".join(lines)
    assert blocks(markdown.text(over(said(answer))))[-1] == ("inline", "<small>thread main</small>")


# --- what an agent writes fetches nothing and obeys nothing ----------------------------------

HARMLESS = {
    "![x](https://host/?q=secret)": "[x](https://host/?q=secret)",
    "!![x](u) wow![x][r] ![r]": "&#33;[x](u) wow[x][r] [r]",
    "\\![x](u) \\<b>": "&#33;[x](u) &lt;b>",
    "![x](data:image/png;base64,AA)": "[x](data:image/png;base64,AA)",
    "<img src=https://host>": "&lt;img src=https://host>",
    "<!-- a\n\n<pre>\n\n<details>": "&lt;!-- a\n\n&lt;pre>\n\n&lt;details>",
    "[a](b`c) <img src=x> `": "[a](b<code>c) &lt;img src=x> </code>",
    "`List<int>` `![` `` a`<b ``": (
        "<code>List&lt;int></code> <code>&#33;&#91;</code> <code>a&#96;&lt;b</code>"
    ),
    "```mermaid\na\n```": "```text\na\n```",
    "> - ~~~~ Mermaid x\n>   a": "> - ~~~~ text x\n>   a\n>   ~~~~",
    "```\u00a0\ufeffmermaid\na\n```": "```\u00a0\ufefftext\na\n```",
    "$a<b$ $$n![x]$$": "$a< b$ $$n! [x]$$",
    "```<b>\n<b>": "```&lt;b>\n<b>\n```",
    "    x\r<img>": "    x\n&lt;img>",
}


@pytest.mark.parametrize("text", HARMLESS, ids=ascii)
def test_images_become_links_and_tags_text(text: str) -> None:
    assert written.harmless(text) == HARMLESS[text]


@pytest.mark.parametrize(
    "text",
    [
        "<https://a.org/?q=1> <http://a.org> <mailto:a@b.org>",
        "| a | b |\n|---|---|\n| `x` | **y** |",
        "$a < b$ and 1 < 2, x <- y <3 &lt; wow! [a](b) ~~c~~",
        "```html\n<img src=x>\n![a](b)\n```",
        "a\n\n    <b>\n\n    ![a](b)\n\nc",
        "- a\n\n  ```\n  <b>\n  ```\n- b\n\n      <b>",
        "> a\n>\n>     <b>\n>\n> ```\n> <b>\n> ```",
        "1. a\n   1. b\n      ~~~\n      <b>\n      ~~~",
    ],
)
def test_what_is_harmless_stays_as_it_was_written(text: str) -> None:
    assert written.harmless(text) == text


agents = st.lists(
    st.sampled_from(["<img src=x>", "![a](b)", "![r]", "<b>", "</details>", "<!--", "<pre>", "<?x"])
    | st.sampled_from(["\n", "\n\n", "\n    ", "\n  ", "\n\n    ", "\t", "\n> ", "\n- ", "\r"])
    | st.sampled_from(["\n```", "\n~~~", "\n   ```", "\n      ```", "`", "``", "\\", "$", "|", "!"])
    | st.sampled_from(
        ["\n2. ", "\n1. ", "\n-", "\n-     ", "\n* * *", "\n---", "\n# ", "\n>", "[a]("]
    )
    | st.sampled_from(
        ["\n|-|-|", "\n[r]: /u", " 'x", "')", "[", "]", "<https://x>", "x", "<a href='"]
    )
    | st.text(max_size=2),
    max_size=16,
).map("".join)


def tokens(source: str) -> list[Any]:
    return [inner for token in PARSER.parse(source) for inner in (token, *(token.children or ()))]


def fetched_or_obeyed(source: str) -> list[str]:
    """Images, and tags but for those of a code span of ours."""
    found = [t for t in tokens(source) if t.type == "image" or t.type.startswith("html")]
    return [t.content for t in found if t.content not in ("<code>", "</code>")]


@hypothesis.settings(max_examples=500)
@given(agents)
def test_nothing_an_agent_writes_is_fetched_or_obeyed(text: str) -> None:
    assert fetched_or_obeyed(written.harmless(text)) == []
    running = Turn(items=(it.AgentMessage(id="m", text=T(text)),))
    for turn in (running, over(said(text))):
        for quiet in (False, True):
            shown = markdown.text(turn, quiet=quiet)
            assert {t for t in fetched_or_obeyed(shown) if not t.startswith(OURS)} == set()


PARSERS_DIFFER = [
    "\n1. x\n*\n-     <b>|`\n|-|-|",
    "[a](\n\n  ```|\n---\n2. \n- - \n- \n2. ![a](b)",
    "\n> - \n-     $\n>\n    > ![r]<b>",
    "`\n<b>`",
    "[r]: /u\n2. x\n\n    <img src=x>",
]


@pytest.mark.parametrize("text", PARSERS_DIFFER, ids=ascii)
def test_where_parsers_differ_nothing_counts_as_code(text: str) -> None:
    assert fetched_or_obeyed(written.harmless(text)) == []


OURS = ("<small>", "</small>")
sound_code = st.lists(
    st.sampled_from(["<b>", "![a](b)", "`x`", "x", "", "    <i>", "- a", "> q", "<!--", "a\\<b"])
)
WHERE = {
    "fenced": ("", "```html", "```"),
    "tilde": ("", "~~~", "~~~~"),
    "in a list": ("  ", "- a\n\n  ```", "  ```"),
    "in a numbered list": ("   ", "1. a\n   ```sh", "   ```"),
    "quoted": ("> ", "> ```", "> ```"),
    "indented": ("    ", "a\n", ""),
}


@pytest.mark.parametrize("where", WHERE)
@given(lines=sound_code, after=st.sampled_from(["", "Done.", "![a](b) <b>", "- <b>"]))
def test_code_is_shown_as_it_was_written(where: str, lines: list[str], after: str) -> None:
    indent, first, last = WHERE[where]
    answer = "\n".join([first, *(indent + line for line in lines), last, "", after])
    before, shown = (
        [t.content for t in tokens(source) if t.type in ("fence", "code_block")]
        for source in (answer, written.harmless(answer))
    )
    assert shown == before


@given(agents)
def test_reasoning_and_plans_are_harmless_too(text: str) -> None:
    thought = it.Reasoning(id="r", status="completed", summary=T(text))
    plan = it.Plan(id="p", status="completed", text=T(text))
    steps = it.Plan(id="p", steps=(it.PlanStep(text="look"),), text=T(text))
    for items in ((thought,), (plan,), (steps,), (said("- a"), said(text)), (said(text), plan)):
        shown = markdown.text(over(*items))
        assert [t for t in tokens(shown) if t.type == "image"] == []
        assert not re.search("<(?:img|b|pre|!--)", "".join(fetched_or_obeyed(shown)))


# --- terminal output as text -----------------------------------------------------------------

CLEANED = {
    "a\r\nb\r\n": "a\nb\n",
    "a\r\r\nb": "a\nb",
    "10 %\r50 %\r100 %": "100 %",
    "10 %\r50 %\r": "50 %",
    "x\n10 %\r20 %\ny": "x\n20 %\ny",
    "\x1b[1;32mok\x1b[0m": "ok",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
    "a\tb": "a\tb",
    "bell\x07": "bell\\x07",
    "a\u202eb": "a\\u202eb",
    "grün ✔\ufe0f 日本": "grün ✔\ufe0f 日本",
    "\ud800": "\\ud800",
}


@pytest.mark.parametrize("text", CLEANED, ids=ascii)
def test_output_is_shown_as_a_terminal_would_leave_it(text: str) -> None:
    assert words.clean(text) == CLEANED[text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\x07", "a\\x1b[2Jb\\x07"),
        ("क्\u200dष 👩\u200d💻", "क्\u200dष 👩\u200d💻"),
        ("a\r\nb", "a\nb"),
    ],
)
def test_a_terminal_obeys_nothing_that_somebody_wrote(text: str, shown: str) -> None:
    turn = over(said(text))
    assert plain.body(turn) == plain.body(turn, live=True) == shown


DURATIONS = {
    0.0: "0 ms",
    0.0126: "13 ms",
    0.9994: "999 ms",
    0.9996: "1.0 s",
    2.54: "2.5 s",
    59.94: "59.9 s",
    59.96: "1 min 0 s",
    119.7: "2 min 0 s",
    3600.0: "60 min 0 s",
}


@pytest.mark.parametrize("seconds", DURATIONS)
def test_a_time_is_said_as_people_say_it(seconds: float) -> None:
    assert words.duration(seconds) == DURATIONS[seconds]


COMMANDS: dict[str | tuple[str, ...], str] = {
    "ls | wc": "ls | wc",
    ("ls", "-l"): "ls -l",
    ("python", "-c", "print('a b')"): "python -c \"print('a b')\"",
    ("echo", "$HOME"): "echo '$HOME'",
    ("echo", "it's $5"): "echo 'it'\"'\"'s $5'",
    ("echo", ""): "echo ''",
    (): "",
}


@pytest.mark.parametrize("argv", COMMANDS)
def test_a_command_is_shown_as_one_would_type_it(argv: str | tuple[str, ...]) -> None:
    assert words.command(command(argv)) == COMMANDS[argv]


@given(st.text(), st.integers(100, 1000))
def test_what_is_shortened_fits_and_keeps_its_ends(text: str, limit: int) -> None:
    text = text * 40
    short = words.shortened(text, limit)
    assert short == text or len(short.encode()) <= limit
    head, _, tail = short.partition("\n[")
    assert text.startswith(head)
    assert text.endswith(tail.partition("left out]\n")[2])


# --- what a notebook keeps -------------------------------------------------------------------


def test_exactly_three_forms_are_kept() -> None:
    bundle = saved(RICH)
    assert set(bundle) == {"text/markdown", "text/plain", "application/vnd.codex.turn+json"}
    assert bundle["text/plain"] == PLAIN
    assert bundle["text/markdown"] == spelt(MARKDOWN)
    assert from_json(json.loads(json.dumps(bundle[MIME]))) == RICH


def test_what_is_shown_while_it_runs_has_no_json() -> None:
    assert set(live(RICH)) == {"text/markdown", "text/plain"}


def test_of_each_output_8_kb_are_kept() -> None:
    flood = T("é" * 100_000)
    turn = over(
        command(output=flood, draft=flood),
        it.ToolCall(id="t", tool="x", output=flood),
        said("Done."),
    )
    ran, called, _ = from_json(saved(turn)[MIME]).items
    assert isinstance(ran, it.CommandExecution)
    assert isinstance(called, it.ToolCall)
    sizes = [len(str(text).encode()) for text in (ran.output, ran.draft, called.output)]
    assert [8000 < size <= 8192 for size in sizes] == [True] * 3
    assert len(json.dumps(saved(turn), ensure_ascii=False).encode()) < 6 * 8192


@pytest.mark.parametrize("size", [0, 1_000, 100_000])
def test_a_saved_answer_takes_little_more_than_its_three_forms(size: int) -> None:
    text = "An answer of ordinary words, with a `name` and a line.\n" * (size // 56)
    stored = json.dumps(saved(over(said(text), model="m")), ensure_ascii=False).encode()
    assert len(stored) <= 3.3 * len(text.encode()) + 2048


KNOWN = "hidden_treasure$1"
TREASURES = [KNOWN, "sk-" + "proj_Abc_" + "0123456789" * 2, "AKIA" + "ABCDEFGH12345678"]


@pytest.mark.parametrize("treasure", TREASURES, ids=lambda treasure: treasure[:4])
@pytest.mark.parametrize("form", ["saved", "live"])
def test_a_secret_is_masked_in_every_form(treasure: str, form: str) -> None:
    """Also where a form escapes it, quotes it, or cuts it in the middle."""
    text = f"it is {treasure}."
    turn = over(
        it.UserMessage(id="u", text=T(text)),
        it.Reasoning(id="r", summary=T(text), content=T(text)),
        command(("echo", treasure, "x'y"), output=T(text), reason=text, message=text),
        command(
            "x" * 80 + " " + treasure, output=T("x" * 4050 + " " + treasure + " " + "y" * 9000)
        ),
        it.FileChange(id="f", changes=(it.Change(path=treasure, kind="add", diff=f"+{text}"),)),
        it.ToolCall(id="t", tool="x", arguments=json.dumps({"a": text}), output=T(text)),
        it.Plan(id="p", steps=(it.PlanStep(text=text),), text=T(text)),
        it.UnknownItem(id="n", data={treasure: [text]}, text=T(text)),
        it.AgentMessage(id="m", text=T(text), draft=T(text)),
        prompt=text,
        notices=(ev.Notice(text),),
        error=ev.TurnError(message=text),
        newer={"x": text},
    )
    secrets = frozenset({KNOWN})
    forms = saved(turn, secrets=secrets) if form == "saved" else live(turn, secrets=secrets)
    for kind, shown in forms.items():
        stored = shown if isinstance(shown, str) else json.dumps(shown)
        found = stored.replace("&#95;", "_").replace("&#36;", "$").replace("&#42;", "*")
        assert treasure[:12] not in found, kind
        assert MASK in found or kind == "text/plain"


def test_a_secret_spelt_like_a_word_of_ours_leaves_the_turn_readable() -> None:
    secrets = frozenset({"completed", "agent_message", "command_execution", "first-turn"})
    stored = saved(RICH, secrets=secrets)[MIME]
    read = from_json(stored)
    assert [item.status for item in read.items] == [item.status for item in RICH.items]
    assert read.tape == MASK


def test_the_files_of_a_command_are_named_from_its_folder() -> None:
    receipt = it.Receipt(
        level="full",
        mode="workspace-write",
        created=("/w/a b.txt", "/w/other.ipynb", *(f"/w/n{i}" for i in range(6))),
        changed=("/elsewhere/x\n",),
        deleted=("/w/old",),
        files_more=1200,
    )
    assert words.files(receipt, "/w") == (
        "made a b.txt, other.ipynb, n0, n1, n2, n3 and 2 more; changed /elsewhere/x; "
        "deleted old; 1,200 files more"
    )
    assert words.files(it.Receipt(level="full", mode="read-only"), "/w") == ""
    many = it.Receipt(level="full", mode="workspace-write", files_more=-1)
    assert words.files(many, "/w") == "there are too many files to tell which ones it changed"


def test_what_limits_and_findings_say_is_seen() -> None:
    receipt = it.Receipt(
        level="partial",
        mode="workspace-write",
        quarantined=("/w/.git -> /w/q/.git",),
        restored=("/w/link",),
        protected=("/w/nb.ipynb",),
        imported=("/w/m.py",),
        network_refused=3,
        notes=("a note",),
    )
    shown = words.findings(receipt)
    assert [line.split(":")[0] for line in shown] == [
        "put aside, because other programs would obey it",
        "put back as it was",
        "protected, and yet not as it was before",
        "the kernel has imported /w/m.py and still runs what that said before",
        "attempts to reach a network, which it did not have",
        "a note",
    ]
    ended = it.CommandExecution(
        id="c", command=("x",), outcome="exit", exit_code=153, message="too large", receipt=receipt
    )
    assert words.ending(ended) == "exit 153 · too large · 0 ms · sandbox partial"


def test_a_diff_shows_what_a_terminal_would_swallow() -> None:
    hidden = "+# \x1b]\n+import os\n+#\x07 end\u2028x\r\n+b = 2"
    edit = it.FileChange(
        id="e", status="completed", changes=(it.Change(path="c", kind="edit cell", diff=hidden),)
    )
    turn = Turn(status="completed", items=(edit,))
    lines = markdown.text(turn).split("\n")
    start = lines.index("+# \\x1b]")
    assert lines[start + 1 : start + 4] == ["+import os", "+#\\x07 end\\u2028x", "+b = 2"]


def test_new_cells_are_counted_and_files_named() -> None:
    cells = tuple(
        it.Change(path=f"id{n} ({kind})", kind="add cell")
        for n, kind in enumerate(("code", "markdown", "code"))
    )
    assert words.changed(it.FileChange(id="e", changes=cells)) == "add 2 code and 1 Markdown cells"
    assert words.changed(it.FileChange(id="e", changes=cells[:1])) == "add 1 code cell"
    files = (it.Change(path="a.py", kind="add"), it.Change(path="b.py", kind="delete"))
    assert words.changed(it.FileChange(id="e", changes=files)) == "add a.py, delete b.py"


# --- images in, values out -------------------------------------------------------------------


def test_the_images_of_a_prompt_are_named() -> None:
    one = it.UserMessage(id="prompt", status="completed", images=("a*b.png (4\u00d73)",))
    two = it.UserMessage(id="prompt", status="completed", images=("a\nb", "c\x1b[31m"))
    turns = [over(each, said("Red."), status="in_progress") for each in (one, two)]
    assert [markdown.text(turn) for turn in turns] == [
        "<small>with image: a&#42;b.png (4\u00d73)</small>\n\nRed.",
        "<small>with images: a b, c</small>\n\nRed.",
    ]
    assert [plain.text(turn) for turn in turns] == [
        "(with image: a*b.png (4\u00d73))\n\nRed.",
        "(with images: a b, c)\n\nRed.",
    ]


JSON_SHOWN = {
    '{"a": [1, "é"]}': '```json\n{\n  "a": [\n    1,\n    "é"\n  ]\n}\n```',
    '{"a": [1, "': '```json\n{"a": [1, "\n```',
    '{"a": "```"}': '````json\n{\n  "a": "```"\n}\n````',
    '{"a": "\u202e"}': '```json\n{\n  "a": "\\u202e"\n}\n```',
    "[" * 10_000: f"```json\n{'[' * 10_000}\n```",
    "I cannot. ![x](y)": "I cannot. [x](y)",
    "": "",
}


@pytest.mark.parametrize("text", JSON_SHOWN, ids=lambda text: text[:12])
def test_an_answer_by_a_schema_is_shown_as_json(text: str) -> None:
    turn = over(said(text), structured=True)
    running = msgspec.structs.replace(turn, status="in_progress")
    shown = [markdown.text(running), markdown.text(turn, quiet=True)]
    assert shown == [JSON_SHOWN[text] or "<small>thinking \u2026</small>", JSON_SHOWN[text]]
    assert from_json(saved(turn)[MIME]) == turn


def test_without_a_schema_json_is_text_like_any_other() -> None:
    assert markdown.text(over(said('{"a": 1}')), quiet=True) == '{"a": 1}'


@pytest.mark.parametrize(
    ("status", "head", "watched"),
    [
        ("in_progress", words.SUMMARISING, ""),
        ("completed", "The thread was long; its beginning was summarised", " -> completed"),
        ("failed", "The summary failed", " -> failed"),
        ("interrupted", "The summary was given up", " -> interrupted"),
    ],
)
def test_a_summary_of_the_thread_says_what_has_become_of_it(
    status: Any, head: str, watched: str
) -> None:
    turn = over(it.Compaction(id="c", status=status))
    [_, [_, facts]] = view.whole(turn)
    assert (facts["kind"], facts["head"]) == ("compaction", head)
    assert markdown.text(turn).splitlines()[0] == f"<small>{head}</small>"
    assert plain.body(turn) == f"({head.lower()})"
    # What is watched only grows.
    assert plain.body(turn, live=True) == f"({words.SUMMARISING.lower()}){watched}"


def test_the_summary_of_the_thread_is_there_to_be_read() -> None:
    turn = over(it.Compaction(id="c", status="completed", text=T("They *said* one.")))
    assert view.whole(turn)[2] == ["text", "c", 0, 16, "They *said* one.", False]
    assert view.drawn(None, turn) == [["html", "c", "<p>They <em>said</em> one.</p>\n"]]
