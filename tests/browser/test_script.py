"""Pieces of the page's script by themselves, in a real browser and an empty page."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

SOURCE = files("codex_magic").joinpath("static/turn.js").read_text(encoding="utf-8")
LOAD = """async (source) => {
  const whole = source + "\\nconst STYLE = '';\\nexport { inert, boundary, visible, Output, ItemView };";
  const url = URL.createObjectURL(new Blob([whole], { type: "text/javascript" }));
  window.script = await import(url);
}"""


@pytest.fixture(scope="module")
def script(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.evaluate(LOAD, SOURCE)
    yield page
    page.close()


# --- HTML that comes from elsewhere ----------------------------------------------------------

HOSTILE = {
    "<img src='http://e.org/x.png' alt='a'>": '<a href="http://e.org/x.png" rel="noopener noreferrer" target="_blank">a</a>',
    "<img src=x onerror='window.ran = 1'>": "<a>image</a>",
    "<p onclick='window.ran = 1' style='background: url(http://e.org)'>t</p>": "<p>t</p>",
    "<a href='javascript:window.ran = 1'>t</a>": "<a>t</a>",
    "<a href=' java\tscript:window.ran=1'>t</a>": "<a>t</a>",
    "<script>window.ran = 1</script>t": "t",
    "<svg><script>window.ran = 1</script><circle/></svg>t": "t",
    "<math><mtext><style><img src=x onerror='window.ran=1'></style></mtext></math>t": "t",
    "<iframe src='http://e.org'></iframe>t": "t",
    "<video src='http://e.org/v' poster='http://e.org/p'></video>t": "t",
    "<form action='http://e.org'><input name=a><button>b</button></form>": "☐ b",
    "<link rel=stylesheet href='http://e.org/x.css'><style>p {}</style>t": "t",
    "<base href='http://e.org'><meta http-equiv=refresh content='0;http://e.org'>t": "t",
    "<p class='jp-x codex-y'>t</p>": "<p>t</p>",
    "<code class='language-py jp-x'>t</code>": '<code class="language-py">t</code>',
    "<div class='cm-panel ͼ1'>t</div>": "<div>t</div>",
    "<template><img src=x></template>t": "t",
    "<ol start=3><li>t</li></ol>": '<ol start="3"><li>t</li></ol>',
    "<input type=checkbox checked>t": "☑ t",
    "<b>t</b>": "t",
}


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_is_fetched_or_run(script: Page, html: str) -> None:
    asked: list[str] = []
    script.on("request", lambda request: asked.append(request.url))
    shown = script.evaluate(
        """(html) => {
          const node = document.createElement("div");
          node.append(script.inert(html));
          document.body.append(node);
          return new Promise((done) => requestAnimationFrame(() => done(node.innerHTML)));
        }""",
        html,
    )
    assert shown.strip() == HOSTILE[html]
    assert (script.evaluate("window.ran"), asked) == (None, [])


def test_a_summary_of_the_thread_is_named_while_it_is_made_and_folds_away(script: Page) -> None:
    shown = script.evaluate(
        """() => {
          const item = { id: "c", kind: "compaction", status: "in_progress", head: "Summarising" };
          const view = new script.ItemView(item, null);
          const seen = () => [view.node.open, view.node.textContent];
          const before = seen();
          view.show({ ...item, status: "completed", head: "It was summarised" });
          view.grow(0, 4, "Once", false);
          return [view.node.localName, before, seen()];
        }"""
    )
    assert shown == ["details", [True, "Summarising"], [False, "It was summarisedOnce"]]


# --- where a text can be drawn ---------------------------------------------------------------

BOUNDARIES = {
    "one": "",
    "one\n\ntwo": "one\n\n",
    "one\n\n2. two": "",
    "one\n\n- two": "",
    "one\n\n    code": "",
    "```\na\n\nb": "",
    "```\na\n\nb\n```\n\nthen": "```\na\n\nb\n```\n\n",
    "$$\na\n\nb": "",
    "- a\n\n- b\n\n  more": "",
    "- a\n\n- b\n\nthen": "- a\n\n- b\n\n",
    "| a |\n|---|\n| b |\n\nthen": "| a |\n|---|\n| b |\n\n",
    "a\n\nb\n\nc": "a\n\nb\n\n",
}


@pytest.mark.parametrize("text", BOUNDARIES)
def test_only_what_is_complete_is_drawn(script: Page, text: str) -> None:
    assert text[: script.evaluate("(text) => script.boundary(text)", text)] == BOUNDARIES[text]


# --- output of commands ----------------------------------------------------------------------

SHOW = """(pieces) => {
  const output = new script.Output();
  document.body.replaceChildren(output.node);
  for (const piece of pieces) output.append(piece);
  return [output.node.textContent, output.node.querySelectorAll("*").length, output.node.innerHTML];
}"""
OUTPUTS = [
    (["a\n", "b"], "a\nb"),
    (["10%\r20%", "\r30%"], "30%"),
    (["10%\r", "\ndone\n"], "10%\ndone\n"),
    (["a\x1b[3", "1mred\x1b[0m\n"], "ared\n"),
    (["\x1b]0;title\x07x"], "x"),
    (["a\u202eb\u200b\x00"], "a\\u202eb\\u200b\\x00"),
    (["<img src=x>"], "<img src=x>"),
]


@pytest.mark.parametrize(("pieces", "shown"), OUTPUTS)
def test_output_is_shown_as_a_terminal_would_and_hides_nothing(
    script: Page, pieces: list[str], shown: str
) -> None:
    assert script.evaluate(SHOW, pieces)[0] == shown


def test_colours_last_until_they_are_taken_back(script: Page) -> None:
    html = script.evaluate(SHOW, ["\x1b[1;31ma\nb\x1b[0mc\n"])[2]
    assert (
        'class="codex-bold codex-fg1">a</span>\n<span class="codex-bold codex-fg1">b</span>c'
        in html
    )


FLOODS: list[Any] = [
    ["line of output\n" * 1000] * 350,
    ["x" * 10_000] * 500,
    ["\n" * 100_000] * 50,
]


@pytest.mark.parametrize("pieces", FLOODS, ids=["lines", "one line", "no words"])
def test_of_5_mb_the_page_keeps_the_end(script: Page, pieces: list[str]) -> None:
    text, nodes, _ = script.evaluate(SHOW, pieces)
    assert len(text) < 250_000
    assert nodes < 300
    assert "earlier output is not shown here" in text
