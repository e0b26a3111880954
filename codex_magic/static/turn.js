// @ts-check
/**
 * A running turn on the page: a plain ES module for anywidget.
 *
 * It lays out what the kernel tells it and reports what a person does. What things are called, how a
 * command ended and what may be allowed is decided in the kernel. Everything that comes from an
 * agent or a command becomes text, or Markdown that has passed `inert`; nothing of it is obeyed.
 * `STYLE`, the style sheet, is put behind this file when it is sent.
 *
 * @typedef {{ id: string, kind: string, status: string, phase?: string, head?: string,
 *   inside?: string, good?: boolean, asked?: boolean, ending?: string, notes?: string[], found?: string[],
 *   steps?: [string, string][], question?: string, answer?: string }} Item
 * @typedef {{ status: string, ended: string, notices: [string, string][], facts: string[],
 *   waiting: boolean }} Turn
 * @typedef {{ kind: string, title: string, key: string, command?: string, facts?: string[],
 *   grant?: string, question?: string, options?: string[] }} Card
 * @typedef {{ quiet: boolean, cell: string, widget: string, card: Card | null }} Own
 * @typedef {["turn", Turn] | ["item", Item] | ["page", Own] | ["html", string, string]
 *   | ["text", string, number, number, string, boolean] | ["cells", Errand]} Operation
 * @typedef {{ id: string, type: "code" | "markdown", source: string }} NewCell
 * @typedef {{ key: string, to: string, do: string, ids?: string[], outputs?: boolean,
 *   after?: string[], cells?: NewCell[], metadata?: any, id?: string, old?: string,
 *   source?: string }} Errand
 * @typedef {{ n: number, ops?: Operation[], all?: Operation[],
 *   kept?: Record<string, any> | null }} Message
 * @typedef {{ get(name: string): any, on(name: string, handler: Function): void,
 *   off(name: string, handler: Function): void, send(content: any): void,
 *   widget_manager?: any }} Model
 */

const ARMED_MS = 350; // a card that appears under a moving pointer must not be allowed by accident
const TYPING_MS = 1500; // whoever types elsewhere keeps the focus
const WINDOW = 64 * 1024; // characters of one command's output that are kept on the page
const LONGEST_LINE = 4096; // a longer one is broken, so that adding to it stays cheap
const MOST_LINES = 2000; // of what arrives at once
const GONE_MS = 3000; // a kernel that lives answers in a tenth of a second
const KEEP = "Keep this in the notebook, as it stands here";
const SOURCE = 100_000; // characters of one cell that the kernel is told
const SOURCES = 400_000; // and of all, unless it has asked for these
const OUTPUTS = 20; // of one cell
const CLIP = 1600; // characters of each
const PAGE = Math.random().toString(36).slice(2); // this page, as long as it is not loaded again
const SETTLE_MS = 120; // the last piece of a text is drawn as Markdown when it has rested so long

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElement}
 */
function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/**
 * @param {string} label
 * @param {string} className
 * @param {() => void} act
 */
function button(label, className, act) {
  const node = /** @type {HTMLButtonElement} */ (make("button", className, label));
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

/**
 * @param {string} label
 * @returns {HTMLTextAreaElement}
 */
function field(label) {
  const node = /** @type {HTMLTextAreaElement} */ (make("textarea", "codex-field"));
  node.rows = 1;
  node.placeholder = label;
  node.maxLength = 20000; // what the kernel takes
  node.setAttribute("aria-label", label);
  return node;
}

/** An Enter that chooses a word in an input method sends nothing, nor does one that begins a line.
 * @param {KeyboardEvent} event */
function isEnter(event) {
  const is = event.key === "Enter" && !event.shiftKey && !event.isComposing;
  if (is) event.preventDefault();
  return is;
}

// --- text that comes from elsewhere -------------------------------------------------------------

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}]/gu;

/**
 * Return `text` with characters that would not be seen as escapes.
 * @param {string} text
 */
function visible(text) {
  return text.replace(HIDDEN, (char) => {
    if (char === "\n" || char === "\t") return char;
    const code = /** @type {number} */ (char.codePointAt(0));
    return code > 0xffff
      ? `\\U${code.toString(16).padStart(8, "0")}`
      : code > 0xff
        ? `\\u${code.toString(16).padStart(4, "0")}`
        : `\\x${code.toString(16).padStart(2, "0")}`;
  });
}

const KEPT = new Set(
  ("A BLOCKQUOTE BR CODE DEL DIV EM H1 H2 H3 H4 H5 H6 HR INPUT LI OL P PRE S SPAN STRONG " +
    "TABLE TBODY TD TH THEAD TR UL").split(" "),
);
const CLASSES = /^(?:language-[\w+-]+|cm-[\w-]+|ͼ\w+)$/; // of code, and no others' looks
const ADDRESS = /^(?:https?:|mailto:|#)/i;

/**
 * Return HTML as nodes that fetch nothing and obey nothing: images become links, tags that Markdown
 * has no words for become what stands in them. It is parsed in a document of its own, which loads
 * nothing either.
 * @param {string} html
 * @returns {DocumentFragment}
 */
function inert(html) {
  const source = new DOMParser().parseFromString(html, "text/html");
  const copy = document.createDocumentFragment();
  for (const node of source.body.childNodes) adopt(node, copy);
  return copy;
}

/**
 * @param {Node} node
 * @param {Node} into
 */
function adopt(node, into) {
  if (node.nodeType === Node.TEXT_NODE) into.appendChild(document.createTextNode(node.nodeValue ?? ""));
  if (!(node instanceof Element) && node.nodeType !== Node.ELEMENT_NODE) return;
  const from = /** @type {Element} */ (node);
  const name = from.tagName.toUpperCase();
  if (name === "IMG") {
    into.appendChild(link(from.getAttribute("src") ?? "", from.getAttribute("alt") || "image"));
    return;
  }
  if (["SCRIPT", "STYLE", "TEMPLATE", "NOSCRIPT", "TITLE"].includes(name)) return;
  /** @type {Node} */
  let to = into;
  if (name === "A") to = into.appendChild(link(from.getAttribute("href") ?? "", ""));
  else if (name === "INPUT") to = into.appendChild(tick(from.hasAttribute("checked")));
  else if (KEPT.has(name)) to = into.appendChild(plain(from, name));
  for (const child of from.childNodes) adopt(child, to);
}

/**
 * @param {Element} from
 * @param {string} name
 */
function plain(from, name) {
  const node = document.createElement(name);
  const isCode = name === "CODE" || (name === "SPAN" && from.closest("pre, code"));
  const classes = isCode ? [...from.classList].filter((word) => CLASSES.test(word)) : [];
  if (classes.length) node.className = classes.join(" ");
  for (const attribute of ["start", "align", "colspan", "rowspan"]) {
    const value = from.getAttribute(attribute);
    if (value !== null) node.setAttribute(attribute, value);
  }
  return node;
}

/**
 * @param {string} address
 * @param {string} text
 */
function link(address, text) {
  const node = /** @type {HTMLAnchorElement} */ (make("a", "", text));
  if (ADDRESS.test(address)) {
    node.href = address;
    node.rel = "noopener noreferrer";
    node.target = "_blank";
  }
  return node;
}

/** @param {boolean} checked */
function tick(checked) {
  return document.createTextNode(checked ? "☑ " : "☐ ");
}

/** A fence that hosts make a picture of, and for that fetch what it names. */
const DIAGRAM = /((?:`{3,}|~{3,})[^\S\n]*)mermaid/gi;

/**
 * How this host renders Markdown; null where it does not offer it.
 * @typedef {(text: string) => Promise<HTMLElement>} Render
 * @param {any} manager
 * @returns {Render | null}
 */
function renderer(manager) {
  const host = manager?.rendermime;
  if (!host?.clone || !host?.createModel) return null;
  const base = host.sanitizer;
  const sanitizer = Object.create(base);
  // What the host makes of Markdown passes here before it becomes part of the page.
  sanitizer.sanitize = (/** @type {string} */ html, /** @type {any} */ options) => {
    const holder = make("div");
    holder.append(inert(html));
    return base.sanitize(holder.innerHTML, options);
  };
  const ours = host.clone({ sanitizer });
  return async (text) => {
    const drawn = ours.createRenderer("text/markdown");
    const data = { "text/markdown": text.replace(DIAGRAM, "$1text") };
    await drawn.renderModel(ours.createModel({ data, trusted: false }));
    await host.latexTypesetter?.typeset(drawn.node);
    return drawn.node;
  };
}

// --- a text that grows --------------------------------------------------------------------------

/** Markdown as it is being written: what is complete is drawn, the rest stands there as text. */
class Prose {
  /** @param {Render | null} render */
  constructor(render) {
    this.node = make("div", "codex-prose");
    this.tail = make("div", "codex-tail");
    this.node.append(this.tail);
    this.render = render;
    this.text = ""; // what is not drawn yet
    this.whole = "";
    this.timer = 0;
    this.queue = Promise.resolve();
    this.closed = false;
  }

  /** @param {string} text */
  append(text) {
    this.whole += text;
    if (this.tail.hasAttribute("data-html")) return;
    this.text += text;
    const end = this.render ? boundary(this.text) : 0;
    if (end) {
      const done = this.text.slice(0, end);
      this.text = this.text.slice(end);
      this.tail.textContent = visible(this.text);
      this.draw(done);
    } else if (this.tail.lastChild instanceof Text) this.tail.lastChild.appendData(visible(text));
    else this.tail.textContent = visible(this.text);
    if (this.closed) this.finish();
  }

  reset() {
    this.text = this.whole = "";
    this.tail = make("div", "codex-tail");
    this.node.replaceChildren(this.tail);
  }

  /** Draw what is left once nothing more has come for a moment: a turn that is over is replaced. */
  finish() {
    this.closed = true;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      const rest = this.text;
      this.text = "";
      if (rest.trim() && this.render) this.draw(rest, true);
    }, SETTLE_MS);
  }

  /**
   * @param {string} text
   * @param {boolean} [last]
   */
  draw(text, last = false) {
    const place = make("div", "codex-drawn");
    const tail = this.tail;
    place.textContent = visible(text);
    this.node.insertBefore(place, tail);
    if (last) tail.textContent = "";
    this.queue = this.queue.then(async () => {
      try {
        const node = await /** @type {Render} */ (this.render)(text);
        place.replaceChildren(node);
      } catch (error) {
        console.warn("codex_magic: Markdown could not be drawn", error);
      }
    });
  }

  /** @param {string} html */
  show(html) {
    this.tail.replaceChildren(inert(html));
    this.tail.setAttribute("data-html", "");
    this.tail.className = "codex-drawn";
  }

  dispose() {
    clearTimeout(this.timer);
  }
}

/**
 * Return how much of `text` can be drawn by itself: up to a blank line that is in no fence, no
 * formula and no list. Zero where there is no such place.
 * @param {string} text
 */
function boundary(text) {
  let end = 0;
  let fence = "";
  let formula = false;
  let listed = false;
  let at = 0;
  let before = "x";
  const lines = text.split("\n");
  const open = lines.pop() ?? "";
  for (const line of lines) {
    const found = /^ {0,3}(`{3,}|~{3,})/.exec(line);
    if (fence) {
      if (found && found[1].startsWith(fence) && !line.trim().slice(found[1].length)) fence = "";
    } else if (found) fence = found[1];
    else if ((line.split("$$").length - 1) % 2) formula = !formula;
    const free = !fence && !formula;
    // A line at the margin behind a blank one ends whatever list there was.
    if (free && !before.trim() && /^\S/.test(line)) {
      if (!(listed && /^(?:[-*+]|\d+[.)])\s/.test(line))) {
        end = at;
        listed = false;
      }
    }
    if (free && /^\s*(?:[-*+]|\d+[.)])\s/.test(line)) listed = true;
    at += line.length + 1;
    before = line;
  }
  // Of a line that goes on its beginning says enough where it is a word.
  return !fence && !formula && !before.trim() && /^\p{L}/u.test(open) ? at : end;
}

const SGR = /\x1b\[([0-9;]*)m/g;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])/g;
const CUT = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$/; // an escape whose rest is yet to come

/** Output of a command: the end of it, with carriage returns obeyed and colours kept. */
class Output {
  constructor() {
    this.node = make("div", "codex-output");
    this.node.tabIndex = 0;
    this.node.setAttribute("role", "log");
    this.node.setAttribute("aria-live", "off");
    this.node.setAttribute("aria-label", "Output");
    this.left = make("div", "codex-left-out", "earlier output is not shown here");
    this.line = ""; // what stands in the last line, raw
    this.style = "";
    this.styleAtLine = "";
    this.current = make("span");
    /** @type {{ node: HTMLElement, length: number }[]} */
    this.pieces = [];
    this.length = 0;
  }

  /** @param {string} text */
  append(text) {
    const stuck = this.node.scrollTop + this.node.clientHeight >= this.node.scrollHeight - 8;
    if (!this.current.parentNode) this.node.append(this.current);
    const lines = (this.line + text).split("\n");
    this.line = /** @type {string} */ (lines.pop());
    // What a carriage return has overwritten is gone; one at the very end waits for what follows.
    this.line = this.line.replace(/^[^]*\r(?=[^\r])/, "");
    if (this.line.length > LONGEST_LINE) {
      const end = this.line.length - (/[\ud800-\udbff]/.test(this.line.at(-2) ?? "") ? 2 : 1);
      lines.push(this.line.slice(0, end));
      this.line = this.line.slice(end);
    }
    if (lines.length) this.add(lines);
    this.style = this.styleAtLine;
    this.current.replaceChildren(this.coloured(this.line.replace(CUT, "")));
    if (stuck) this.node.scrollTop = this.node.scrollHeight;
  }

  /** @param {string[]} lines */
  add(lines) {
    const part = make("div");
    this.style = this.styleAtLine;
    for (const line of lines.slice(-MOST_LINES)) part.append(this.coloured(line), "\n");
    if (lines.length > MOST_LINES) this.cut();
    this.styleAtLine = this.style;
    const length = lines.reduce((sum, line) => sum + line.length + 1, 0);
    this.node.insertBefore(part, this.current);
    this.pieces.push({ node: part, length });
    this.length += length;
    while (this.pieces.length > 1 && this.length > WINDOW) {
      const oldest = /** @type {{ node: HTMLElement, length: number }} */ (this.pieces.shift());
      oldest.node.remove();
      this.length -= oldest.length;
      this.cut();
    }
  }

  /** One line as it looks once its carriage returns are obeyed, in the colours it asks for.
   * @param {string} line */
  coloured(line) {
    const shown = line.replace(/\r+$/, "");
    const last = shown.slice(shown.lastIndexOf("\r") + 1);
    const piece = document.createDocumentFragment();
    if (!last.includes("\x1b") && !this.style) {
      piece.append(visible(last));
      return piece;
    }
    let from = 0;
    for (const found of last.matchAll(SGR)) {
      this.put(piece, last.slice(from, found.index));
      this.style = paint(this.style, found[1]);
      from = found.index + found[0].length;
    }
    this.put(piece, last.slice(from));
    return piece;
  }

  /**
   * @param {DocumentFragment} piece
   * @param {string} text
   */
  put(piece, text) {
    const clean = visible(text.replace(ESCAPES, ""));
    if (clean) piece.append(this.style ? make("span", this.style, clean) : clean);
  }

  cut() {
    if (!this.left.parentNode) this.node.prepend(this.left);
  }

  reset() {
    this.node.replaceChildren();
    this.pieces = [];
    this.length = 0;
    this.line = this.style = this.styleAtLine = "";
    this.current = make("span");
  }
}

/**
 * Return the classes that hold behind an SGR sequence.
 * @param {string} style
 * @param {string} codes
 */
function paint(style, codes) {
  const words = new Set(style.split(" ").filter(Boolean));
  const without = (/** @type {string} */ prefix) => {
    for (const word of [...words]) if (word.startsWith(prefix)) words.delete(word);
  };
  const numbers = codes.split(";").map(Number);
  for (let i = 0; i < numbers.length; i += 1) {
    const code = numbers[i];
    if (code === 0) words.clear();
    else if (code === 1) words.add("codex-bold");
    else if (code === 2) words.add("codex-dim");
    else if (code === 22) ["codex-bold", "codex-dim"].forEach((word) => words.delete(word));
    else if (code === 38 || code === 48) i += numbers[i + 1] === 5 ? 2 : 4; // more than 16 colours
    else if (code === 39) without("codex-fg");
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      without("codex-fg");
      words.add(`codex-fg${code % 10}`);
    }
  }
  return [...words].join(" ");
}

// --- items --------------------------------------------------------------------------------------

const FOLDING = ["reasoning", "command", "change", "tool", "unknown", "compaction"];

/** One item: what is laid out anew when its facts change, and its text, which only grows. */
class ItemView {
  /**
   * @param {Item} item
   * @param {Render | null} render
   */
  constructor(item, render) {
    this.item = item;
    this.end = 0; // characters of the text that are here
    this.touched = false; // a person has opened or closed it
    this.isOutput = item.kind === "command" || item.kind === "tool";
    this.text = this.isOutput ? new Output() : new Prose(item.kind === "user" ? null : render);
    this.folds = FOLDING.includes(item.kind);
    this.node = make(this.folds ? "details" : "div", `codex-item codex-${item.kind}`);
    this.summary = make("summary");
    this.summary.addEventListener("click", () => (this.touched = true));
    this.top = make("div", "codex-top");
    this.bottom = make("div", "codex-bottom");
    const inside = make("div", "codex-inside");
    inside.append(this.top, this.text.node, this.bottom);
    if (this.folds) this.node.append(this.summary, inside);
    else this.node.append(inside);
    this.show(item);
  }

  /** @param {Item} item */
  show(item) {
    this.item = item;
    this.node.dataset.status = item.status;
    if (item.good !== undefined) this.node.dataset.good = String(item.good);
    if (this.folds) this.summary.replaceChildren(...summary(item));
    this.top.replaceChildren(...top(item));
    this.bottom.replaceChildren(...(item.found ?? []).map((text) => make("div", "codex-note", text)));
    if (item.status !== "in_progress") {
      if (this.text instanceof Prose) this.text.finish();
      if (item.kind !== "change" && item.good !== false) this.fold(false);
    } else this.fold(!item.asked); // what it is about stands on the card
    if (item.kind === "change") this.fold(!item.asked);
  }

  /** @param {boolean} open */
  fold(open) {
    if (this.folds && !this.touched) /** @type {HTMLDetailsElement} */ (this.node).open = open;
  }

  /**
   * @param {number} offset
   * @param {number} end
   * @param {string} text
   * @param {boolean} gap
   */
  grow(offset, end, text, gap) {
    if (gap) {
      this.text.reset();
      if (offset > 0 && this.text instanceof Output) this.text.cut();
    } else if (offset !== this.end) return false;
    this.end = end;
    this.text.append(text);
    this.node.classList.toggle("codex-has-text", end > 0);
    return true;
  }

  /** What it says, for a notebook that has nothing else of it. */
  said() {
    const { head, question, ending } = this.item;
    const first = [head ?? question ?? "", ending ?? ""].filter(Boolean).join("  -> ");
    const rest = this.text instanceof Prose ? this.text.whole : (this.text.node.textContent ?? "");
    return [first, visible(rest)].filter(Boolean).join("\n");
  }

  dispose() {
    if (this.text instanceof Prose) this.text.dispose();
  }
}

/**
 * @param {Item} item
 * @returns {Node[]}
 */
function summary(item) {
  const running = item.status === "in_progress";
  if (item.kind === "reasoning") return [make("span", "codex-word", running ? "Thinking" : "Thought")];
  if (item.kind === "compaction") return [make("span", "codex-word", item.head)];
  const mark = running ? "▸" : item.good === false || item.status === "declined" ? "✗" : "✓";
  const sign = make("span", "codex-mark", mark);
  sign.setAttribute("aria-hidden", "true");
  const nodes = [sign, make("code", "codex-head", item.head)];
  const ending = item.ending ?? item.status.replace("_", " ");
  if (ending) nodes.push(make("span", "codex-ending", ending));
  return nodes;
}

/**
 * @param {Item} item
 * @returns {Node[]}
 */
function top(item) {
  const nodes = [];
  if (item.kind === "user") nodes.push(make("div", "codex-label", "Added while it runs"));
  if (item.kind === "search") nodes.push(make("div", "codex-note", `searched the web for ${item.head}`));
  if (item.kind === "question" && !item.asked) {
    nodes.push(make("div", "codex-asked", item.question));
    if (item.answer) nodes.push(make("div", "codex-note", item.answer));
  }
  for (const note of item.notes ?? []) nodes.push(make("div", "codex-note", note));
  if (item.kind === "change" && item.inside) nodes.push(diff(item.inside));
  else if (item.inside) nodes.push(make("pre", "codex-whole", item.inside));
  if (item.steps?.length) nodes.push(plan(item.steps));
  return nodes;
}

/** @param {string} text */
function diff(text) {
  const node = make("pre", "codex-diff");
  node.tabIndex = 0;
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", "Changes");
  for (const line of text.split("\n")) {
    const kind = /^(?:\+\+\+|---|@@|\*\*\*)/.test(line)
      ? "codex-place"
      : line.startsWith("+")
        ? "codex-added"
        : line.startsWith("-")
          ? "codex-removed"
          : "";
    node.append(make("span", kind, `${line}\n`));
  }
  return node;
}

/** @param {[string, string][]} steps */
function plan(steps) {
  const node = make("ul", "codex-plan-steps");
  /** @type {Record<string, [string, string]>} */
  const marks = { completed: ["✓", "done"], in_progress: ["▸", "now"], pending: ["○", "to do"] };
  for (const [text, status] of steps) {
    const [mark, word] = marks[status] ?? marks.pending;
    const step = make("li", `codex-step-${status}`);
    const sign = make("span", "codex-mark", mark);
    sign.setAttribute("aria-hidden", "true");
    step.append(sign, make("span", "codex-unseen", `${word}: `), text);
    node.append(step);
  }
  return node;
}

// --- the card -----------------------------------------------------------------------------------

let typedAt = -Infinity;
let watching = 0; // views that want to know when somebody types
const noteTyping = () => (typedAt = performance.now());

/** @param {number} more */
function watchTyping(more) {
  watching += more;
  if (watching) document.addEventListener("keydown", noteTyping, true);
  else document.removeEventListener("keydown", noteTyping, true);
}

/** What a person is asked, and what they can say to it. */
class CardView {
  /**
   * @param {Card} card
   * @param {(content: any) => void} send
   */
  constructor(card, send) {
    this.card = card;
    this.send = send;
    this.back = /** @type {HTMLElement | null} */ (document.activeElement);
    this.node = make("div", "codex-card");
    this.node.tabIndex = -1;
    this.node.setAttribute("role", "group");
    this.node.setAttribute("aria-label", "Codex asks");
    this.title = make("div", "codex-card-title", card.title);
    this.node.append(this.title);
    if (card.kind === "question") this.question();
    else this.approval();
  }

  approval() {
    const command = make("pre", "codex-card-command", this.card.command);
    command.tabIndex = 0;
    command.setAttribute("role", "group");
    command.setAttribute("aria-label", "What it wants to run");
    this.node.append(command);
    for (const fact of this.card.facts ?? []) this.node.append(make("div", "codex-fact", fact));
    const reason = field("Reason, if you decline");
    const decide = (/** @type {string} */ decision) =>
      this.answer({ k: "decide", decision, reason: reason.value });
    // Enter never allows; in the reason it sends the refusal that the reason is for.
    reason.addEventListener("keydown", (event) => {
      if (isEnter(event) && reason.value.trim()) decide("decline");
    });
    this.command = command;
    command.addEventListener("scroll", () => this.release());
    const allow = [button("Allow once", "codex-button codex-allow", () => decide("accept"))];
    if (this.card.grant) {
      const always = button("Allow for this notebook", "codex-button", () => decide("accept_for_session"));
      always.title = this.card.grant;
      allow.push(always);
    }
    const row = make("div", "codex-row");
    const no = button("Decline", "codex-button", () => decide("decline"));
    const stop = button("Stop the turn", "codex-button codex-quiet", () => decide("cancel"));
    row.append(...allow, no, reason, stop);
    this.node.append(row);
    if (this.card.grant) {
      this.node.append(make("div", "codex-note", `For this notebook means: ${this.card.grant}.`));
    }
    this.arm(allow);
  }

  question() {
    this.node.append(make("div", "codex-asked", this.card.question));
    const answer = field("Your answer");
    const say = () => {
      if (answer.value.trim()) this.answer({ k: "answer", text: answer.value });
    };
    answer.addEventListener("keydown", (event) => {
      if (isEnter(event)) say();
    });
    const options = (this.card.options ?? []).map((option, i) =>
      button(option, "codex-button", () => this.answer({ k: "answer", option: i })),
    );
    const choices = make("div", "codex-row");
    choices.append(...options);
    if (options.length) this.node.append(choices);
    const row = make("div", "codex-row");
    const stop = button("Stop the turn", "codex-button codex-quiet", () =>
      this.answer({ k: "decide", decision: "cancel" }),
    );
    row.append(answer, button("Answer", "codex-button codex-allow", say), stop);
    this.node.append(row);
    this.arm(options);
  }

  done = false;
  isArmed = false;
  /** @type {HTMLElement | null} */
  command = null;
  /** @type {HTMLButtonElement[]} */
  armed = [];
  hint = make("div", "codex-note", "Scroll to the end of it to allow it.");

  /** Hold `buttons` back for a moment, and from a key that is pressed without looking.
   * @param {HTMLButtonElement[]} buttons */
  arm(buttons) {
    this.armed = buttons;
    for (const one of buttons) {
      one.disabled = true;
      one.addEventListener("keydown", (event) => {
        if (event.key === "Enter") event.preventDefault();
      });
    }
    window.setTimeout(() => {
      this.isArmed = true;
      this.release();
    }, ARMED_MS);
  }

  /** Let a person allow what they can have read to its end. */
  release() {
    const left = this.command;
    const isRead = !left || left.scrollHeight - left.scrollTop - left.clientHeight < 8;
    if (isRead) this.hint.remove();
    else this.command?.after(this.hint);
    if (!this.isArmed || !isRead) return;
    this.command = null; // what was read stays read
    for (const one of this.armed) one.disabled = this.done;
  }

  /** @param {any} content */
  answer(content) {
    if (this.done) return;
    this.done = true;
    for (const one of this.node.querySelectorAll("button, textarea")) {
      /** @type {HTMLButtonElement} */ (one).disabled = true;
    }
    this.node.classList.add("codex-answered");
    this.send({ ...content, key: this.card.key });
  }

  focus() {
    const active = document.activeElement;
    const writes = !!active?.closest("input, textarea, [contenteditable=true]") && !this.near(active);
    if (writes && performance.now() - typedAt < TYPING_MS) return;
    this.node.focus({ preventScroll: true });
    this.node.scrollIntoView({ block: "nearest" });
  }

  /** @param {Element | null} element */
  near(element) {
    return !!element?.closest(".codex-turn")?.contains(this.node);
  }

  remove() {
    const had = this.node.contains(document.activeElement) || document.activeElement === document.body;
    this.node.remove();
    if (had && this.back?.isConnected) this.back.focus({ preventScroll: true });
  }
}

// --- the turn -----------------------------------------------------------------------------------

/** One view of a turn. */
class TurnView {
  /**
   * @param {Model} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.render = renderer(model.widget_manager);
    this.n = -1; // nothing is here yet
    /** @type {Map<string, ItemView>} */
    this.views = new Map();
    /** @type {Turn} */
    this.turn = { status: "in_progress", ended: "", notices: [], facts: [], waiting: false };
    /** @type {CardView | null} */
    this.card = null;
    this.cell = this.widget = "";
    /** @type {string[]} */
    this.waiting = [];
    this.stopping = false;
    /** @type {HTMLElement | null} */
    this.saving = null;
    this.began = performance.now();
    this.build(el);
    this.receive = (/** @type {Message} */ message) => this.take(message);
    this.lost = () => this.gone();
    model.on("msg:custom", this.receive);
    model.on("comm_live_update", this.lost);
    watchTyping(1);
    this.clock = window.setInterval(() => this.tell(), 1000);
    const snapshot = model.get("snapshot");
    if (snapshot?.all) this.take(snapshot);
    this.hello();
  }

  /** @param {HTMLElement} el */
  build(el) {
    this.node = make("section", "codex-turn");
    this.node.setAttribute("aria-label", "Codex turn");
    // Here keys are for buttons and fields, not for the notebook's commands, which would delete
    // cells. JupyterLab asks the very element that has the focus.
    this.node.addEventListener("focusin", (event) => {
      /** @type {Element} */ (event.target).setAttribute("data-lm-suppress-shortcuts", "true");
    });
    this.node.dataset.status = "in_progress";
    this.items = make("div", "codex-items");
    this.asking = make("div", "codex-asking");
    this.asking.setAttribute("aria-live", "assertive");
    this.notices = make("div", "codex-notices");
    this.footer = make("div", "codex-footer");
    this.word = make("span", "codex-now", "Starting …");
    this.word.setAttribute("role", "status");
    this.time = make("span", "codex-time");
    this.time.setAttribute("aria-hidden", "true");
    this.facts = make("span", "codex-facts");
    this.controls = make("span", "codex-controls");
    const stops = make("span", "codex-stops");
    this.dropping = button("", "codex-button", () => this.stop(this.waiting));
    this.dropping.hidden = true;
    stops.append(button("Stop", "codex-button", () => this.stop([])), this.dropping);
    const line = make("div", "codex-line");
    const sign = make("span", "codex-spinner");
    sign.setAttribute("aria-hidden", "true");
    line.append(sign, this.word, this.time, this.facts);
    this.controls.append(this.steer(), stops);
    this.footer.append(line, this.controls);
    const style = make("style");
    style.textContent = STYLE;
    this.node.append(this.items, this.asking, this.notices, this.footer);
    el.append(style, this.node);
    this.offer();
  }

  steer() {
    const form = make("span", "codex-steer");
    const text = field("Add to this turn");
    const send = () => {
      if (!text.value.trim()) return;
      this.model.send({ k: "steer", text: text.value });
      text.value = "";
    };
    text.addEventListener("keydown", (event) => {
      if (isEnter(event)) send();
    });
    form.append(text, button("Send", "codex-button codex-quiet", send));
    return form;
  }

  /** Offer to stop, and where cells wait behind this one, to drop them too. */
  offer() {
    const running = this.turn.status === "in_progress" && this.cell;
    const waiting = running ? queued(this.model.widget_manager, this.cell) : [];
    this.waiting = waiting;
    const cells = waiting.length === 1 ? "cell" : "cells";
    const label = waiting.length ? `Stop, and drop ${waiting.length} more %%codex ${cells}` : "";
    if (this.dropping) {
      this.dropping.textContent = label;
      this.dropping.hidden = !label;
    }
  }

  /** @param {string[]} drop */
  stop(drop) {
    this.model.send({ k: "stop", drop });
    this.stopping = true;
    for (const one of this.controls?.querySelectorAll("button, textarea") ?? []) {
      /** @type {HTMLButtonElement} */ (one).disabled = true;
    }
    this.tell();
  }

  hello() {
    const cells = !!notebookOf(this.model.widget_manager)?.insertCells;
    this.model.send({ k: "hello", markdown: this.render !== null, page: PAGE, cells });
  }

  /** @param {Message} message */
  take(message) {
    if (message.all) {
      if (this.n >= message.n && this.views.size) return; // another view has asked for it
      this.clear();
      this.n = message.n;
      this.saving?.remove();
      this.saving = null;
      this.apply(message.all);
      if (message.kept) keep(this.model.widget_manager, this.widget, message.kept);
    } else if (message.ops && this.n >= 0) {
      if (message.n <= this.n) return;
      if (message.n !== this.n + 1 || !this.apply(message.ops)) {
        this.n = -1;
        this.hello();
        return;
      }
      this.n = message.n;
    }
    this.tell();
  }

  clear() {
    for (const view of this.views.values()) view.dispose();
    this.views.clear();
    this.items?.replaceChildren();
  }

  /**
   * @param {Operation[]} operations
   * @returns {boolean} whether all of them fitted
   */
  apply(operations) {
    return operations.map((one) => this.one(one)).every(Boolean);
  }

  /** @param {Operation} operation */
  one(operation) {
    switch (operation[0]) {
      case "turn":
        return this.about(operation[1]);
      case "page":
        return this.own(operation[1]);
      case "item":
        return this.item(operation[1]);
      case "text":
        return this.views.get(operation[1])?.grow(operation[2], operation[3], operation[4], operation[5]) ?? false;
      case "html": {
        const text = this.views.get(operation[1])?.text;
        if (!this.render && text instanceof Prose) text.show(operation[2]);
        return true;
      }
      case "cells":
        return this.errand(operation[1]);
      default:
        return true; // a newer kernel has more to say
    }
  }

  /** Do for the kernel what only a page can, once: other views of the turn are told of it too.
   * @param {Errand} errand */
  errand(errand) {
    if (errand.to !== PAGE || done.has(errand.key)) return true;
    done.add(errand.key);
    let answer;
    try {
      answer = carryOut(this.model.widget_manager, errand);
    } catch (error) {
      console.warn("codex_magic: the cells could not be reached", error);
      answer = { no: "failed" };
    }
    this.model.send({ k: "cells", key: errand.key, ...answer });
    return true;
  }

  /** @param {Turn} turn */
  about(turn) {
    this.turn = turn;
    if (this.node) this.node.dataset.status = turn.status;
    this.notices?.replaceChildren(
      ...turn.notices.map(([level, text]) => make("div", `codex-note codex-${level}`, text)),
    );
    if (this.facts) this.facts.textContent = turn.facts.join(" · ");
    return true;
  }

  /** @param {Own} own */
  own(own) {
    this.cell = own.cell;
    this.widget = own.widget;
    this.node?.classList.toggle("codex-quietly", own.quiet);
    if (own.card?.key === this.card?.card.key) return true;
    this.card?.remove();
    this.card = own.card ? new CardView(own.card, (content) => this.model.send(content)) : null;
    if (this.card) {
      this.asking?.append(this.card.node);
      this.card.focus();
    }
    return true;
  }

  /** @param {Item} item */
  item(item) {
    const found = this.views.get(item.id);
    if (found?.item.kind === item.kind) {
      found.show(item);
      return true;
    }
    const view = new ItemView(item, this.render);
    this.views.set(item.id, view);
    if (found) {
      found.dispose();
      found.node.replaceWith(view.node);
    } else this.items?.append(view.node);
    if (item.kind === "message") {
      for (const other of this.views.values()) if (other.item.kind === "reasoning") other.fold(false);
    }
    return true;
  }

  /** Say in a word what goes on, for eyes and for screen readers. */
  tell() {
    const last = [...this.views.values()].at(-1)?.item;
    const doing = last?.status === "in_progress" ? last.kind : "";
    /** @type {Record<string, string>} */
    const words = { command: "Running a command …", message: "Writing …", change: "Changing files …" };
    const over = this.turn.status !== "in_progress";
    const now = over
      ? this.turn.ended || "Done"
      : this.stopping
        ? "Stopping …"
        : this.turn.waiting
          ? "Waiting for your answer"
          : (words[doing] ?? "Thinking …");
    if (this.word && this.word.textContent !== now) this.word.textContent = now;
    const seconds = Math.floor((performance.now() - this.began) / 1000);
    if (this.time) this.time.textContent = over || seconds < 2 ? "" : clock(seconds);
    if (this.controls) this.controls.hidden = over;
    if (!this.stopping) this.offer();
  }

  /** The connection has changed: say that the kernel is gone, unless it answers. */
  gone() {
    if (this.turn.status !== "in_progress") return;
    this.turn = { ...this.turn, status: "interrupted", ended: "The kernel is gone, and the turn with it" };
    if (this.node) this.node.dataset.status = "interrupted";
    this.card?.remove();
    this.card = null;
    this.tell();
    this.n = -1;
    window.setTimeout(() => this.offerToKeep(), GONE_MS);
    try {
      this.hello();
    } catch {
      // nobody hears it
    }
  }

  /** Offer what is here for the notebook: no kernel is left to keep it, nor to mask what is secret
   * in it, so a person has to want that. */
  offerToKeep() {
    if (this.n >= 0 || this.saving) return;
    this.saving = button(KEEP, "codex-button", () => this.save());
    this.footer?.append(this.saving);
  }

  save() {
    const said = [...this.views.values()].map((view) => view.said()).filter(Boolean);
    const text = [...said, this.turn.ended].join("\n\n");
    keep(this.model.widget_manager, this.widget, { "text/plain": text });
  }

  dispose() {
    this.model.off("msg:custom", this.receive);
    this.model.off("comm_live_update", this.lost);
    window.clearInterval(this.clock);
    watchTyping(-1);
    this.card?.remove();
    for (const view of this.views.values()) view.dispose();
  }
}

/** @param {number} seconds */
function clock(seconds) {
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

// --- the notebook around it, where the host lets us see it ---------------------------------------

const PROMPT = /^\s*%%codex(?:\s|$)/;
const MARKDOWN = "text/x-ipythongfm";

/** @param {any} manager */
function notebookOf(manager) {
  return manager?.context?.model?.sharedModel;
}

/**
 * The ids of `%%codex` cells that wait behind the cell `own`.
 * @param {any} manager
 * @param {string} own
 * @returns {string[]}
 */
function queued(manager, own) {
  return [...(notebookOf(manager)?.cells ?? [])]
    .filter((cell) => cell.cell_type === "code" && cell.executionState === "running")
    .filter((cell) => cell.getId() !== own && PROMPT.test(cell.getSource()))
    .map((cell) => cell.getId());
}

/**
 * Put what the notebook keeps of a turn in the place of its widget: this page was away when that was
 * done for all.
 * @param {any} manager
 * @param {string} widget
 * @param {Record<string, any>} kept
 */
function keep(manager, widget, kept) {
  for (const cell of notebookOf(manager)?.cells ?? []) {
    if (cell.cell_type !== "code") continue;
    const outputs = cell.getOutputs?.() ?? cell.outputs ?? [];
    outputs.forEach((/** @type {any} */ output, /** @type {number} */ i) => {
      const shown = output.data?.["application/vnd.jupyter.widget-view+json"];
      if (!shown || shown.model_id !== widget) return;
      cell.updateOutputs(i, i + 1, [{ output_type: "display_data", data: kept, metadata: {} }]);
    });
  }
}

/** The keys of errands that were carried out on this page. */
const done = new Set();

/**
 * Read or change the notebook's cells, and return what the kernel is told of it. What has been done
 * already is not done again: before this page was loaded there may have been another.
 * @param {any} manager
 * @param {Errand} errand
 */
function carryOut(manager, errand) {
  const notebook = notebookOf(manager);
  /** @type {any[]} */
  const cells = [...notebook.cells];
  if (errand.do === "read") return { cells: told(cells, errand) };
  if (manager.context.model.readOnly) return { no: "read-only" };
  const find = (/** @type {string | undefined} */ id) => cells.findIndex((cell) => cell.getId() === id);
  return errand.do === "insert" ? insert(notebook, find, errand) : edit(cells[find(errand.id)], errand);
}

/**
 * @param {any} notebook
 * @param {(id: string | undefined) => number} find
 * @param {Errand} errand
 */
function insert(notebook, find, errand) {
  const { after = [], cells = [], metadata } = errand;
  if (cells.every((cell) => find(cell.id) >= 0)) return {};
  const above = after.map(find).find((index) => index >= 0);
  if (above === undefined) return { no: "gone" };
  const made = cells.map(({ id, type, source }) => ({
    ...{ id, cell_type: type, source, metadata },
    ...(type === "code" ? { outputs: [], execution_count: null } : {}),
  }));
  inOneStep(notebook, () => notebook.insertCells(above + 1, made));
  return {};
}

/**
 * @param {any} cell
 * @param {Errand} errand
 */
function edit(cell, errand) {
  if (!cell) return { no: "unknown" };
  if (cell.getSource() === errand.source) return {};
  if (cell.getSource() !== errand.old) return { no: "changed" };
  if (cell.getMetadata("editable") === false) return { no: "locked" };
  inOneStep(cell, () => cell.setSource(errand.source));
  return {};
}

/** Change something that one undo takes back, and no more: what is done within half a second would
 * be one step otherwise.
 * @param {any} shared
 * @param {() => void} change */
function inOneStep(shared, change) {
  shared.undoManager?.stopCapturing?.();
  shared.transact(change);
  shared.undoManager?.stopCapturing?.();
}

/**
 * @param {any[]} cells
 * @param {Errand} errand
 */
function told(cells, { ids = [], outputs }) {
  let room = SOURCES;
  return cells.map((cell) => {
    const id = cell.getId();
    const source = cell.getSource();
    const wanted = !ids.length || ids.includes(id);
    const kept = source.slice(0, wanted ? Math.min(SOURCE, room) : 0);
    room -= kept.length;
    const all = wanted && outputs && cell.cell_type === "code" ? (cell.getOutputs?.() ?? cell.outputs ?? []) : [];
    return {
      ...{ id, type: cell.cell_type, source: kept, cut: kept.length < source.length },
      count: cell.execution_count ?? null,
      editable: cell.getMetadata("editable") !== false,
      outputs: all.slice(0, OUTPUTS).map(outcome),
      more: Math.max(0, all.length - OUTPUTS),
    };
  });
}

/** One output as text, and its other forms by type and length.
 * @param {any} output */
function outcome(output) {
  const joined = (/** @type {any} */ text) => (Array.isArray(text) ? text.join("") : String(text ?? ""));
  const { output_type: kind, name, text, ename, evalue, traceback, data = {} } = output;
  if (kind === "stream") return { kind: name, text: clip(joined(text)) };
  if (kind === "error") return { kind, text: clip(traceback?.join("\n") || `${ename}: ${evalue}`) };
  const length = (/** @type {any} */ value) =>
    Array.isArray(value) || typeof value === "string" ? joined(value).length : JSON.stringify(value).length;
  const media = Object.entries(data).filter(([type]) => type !== "text/plain");
  return {
    ...{ kind, text: clip(joined(data["text/plain"] ?? data["text/markdown"])) },
    media: media.slice(0, OUTPUTS).map(([type, value]) => [type, length(value)]),
  };
}

/** @param {string} text */
function clip(text) {
  if (text.length <= CLIP) return text;
  const left = text.length - CLIP;
  const [head, tail] = [text.slice(0, CLIP / 2), text.slice(-CLIP / 2)];
  return `${head}\n[… ${left} characters are left out here …]\n${tail}`;
}

/** Notebooks whose prompts are already looked after. */
const looked = new WeakSet();

/**
 * Have `%%codex` cells drawn as the Markdown they are, and the others as what they were.
 * @param {any} manager
 */
function highlight(manager) {
  const cells = manager?.context?.model?.cells;
  if (!cells?.changed?.connect || looked.has(cells)) return;
  looked.add(cells);
  const known = new WeakSet();
  const look = () => {
    for (let i = 0; i < cells.length; i += 1) {
      const cell = cells.get(i);
      if (cell.type !== "code" || known.has(cell)) continue;
      known.add(cell);
      attend(cell);
    }
  };
  cells.changed.connect(look);
  look();
}

/** @param {any} cell */
function attend(cell) {
  let usual = cell.mimeType === MARKDOWN ? "text/x-ipython" : cell.mimeType;
  const decide = () => {
    if (cell.mimeType !== MARKDOWN) usual = cell.mimeType; // the kernel's language, also a new one's
    const wanted = PROMPT.test(cell.sharedModel.getSource()) ? MARKDOWN : usual;
    if (cell.mimeType !== wanted) cell.mimeType = wanted;
  };
  cell.sharedModel.changed.connect(decide);
  cell.mimeTypeChanged?.connect(decide);
  decide();
}

export default {
  /** @param {{ model: Model, el: HTMLElement }} context */
  render({ model, el }) {
    const view = new TurnView(model, el);
    try {
      highlight(model.widget_manager);
    } catch (error) {
      console.warn("codex_magic: prompts are not highlighted here", error);
    }
    return () => view.dispose();
  },
};
