"""IPython's door: ``%%codex`` and ``%codex``.

Each magic reads its line, hands over to the session, and shows what comes back. What a turn is,
how it looks and what may run is decided below.
"""

from __future__ import annotations

import atexit
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from IPython.core.getipython import get_ipython
from IPython.core.magic import (
    Magics,
    magics_class,
    no_var_expand,
)
from traitlets import Bool, Float, TraitError, Unicode, validate

from codex_magic import cell, front, lines, settings, unfinished
from codex_magic.errors import CellError, TurnInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from codex_magic.account.signing import Door
    from codex_magic.cell import Inputs
    from codex_magic.session import Session
    from codex_magic.structured.shape import Shape
    from codex_magic.turn import Turn, TurnRequest
    from codex_magic.typed import Answered

# What goes wrong has its line in the cell; its trace is for whoever listens to the log.
logging.getLogger("codex_magic").addHandler(logging.NullHandler())

CELL_HELP: Final = f"""Send the cell to Codex as one turn of the notebook's thread.

Usage::

    %%codex [options]
    your words, as many lines as you like

Options::

{cell.usage()}

Everything below the first line is the prompt, untouched. Defaults are set by
``%config CodexMagics.…`` or in the environment as ``CODEX_MAGIC_…``. See also ``%codex?``.
"""

SUBCOMMANDS: Final = {
    "ask": "ask TEXT: one turn with TEXT as the prompt, taken literally",
    "sandbox": "sandbox: what commands are kept from on this machine, and what not",
    "audit": "audit [N]: the last N commands of all your notebooks, 20 unless said",
    "login": "login [--browser | --api-key]: sign in, with a code unless you say otherwise",
    "logout": "logout: end the sign-in and have it revoked",
    "models": "models: the models that can be asked for, their efforts, how much they read",
    "usage": "usage: how much of your account's limits is used, and when it resets",
    "status": "status: what the next turn would run on: model, account, sandbox, thread, tape",
    "doctor": "doctor: try everything a turn needs, and say what to type where it is not good",
    "stop": "stop: end the running turn, from another OS thread or a subshell",
    "steer": "steer TEXT: add TEXT to the running turn, likewise",
    "threads": "threads: this notebook's threads as a tree, and those stored for this folder",
    "show": "show [THREAD] [--md]: a thread's turns and their numbers; as Markdown with --md",
    "switch": "switch THREAD: make it the thread of cells that name none",
    "new": "new [THREAD]: have a thread begin afresh with the next cell",
    "resume": "resume ID|last: have the next cell take up a stored thread",
    "fork": "fork [TURN]: have the next cell go on in a branch, from turn TURN or the last one",
    "rename": "rename [THREAD] NAME: call a thread something else",
    "archive": "archive THREAD: take a thread off the list; its id takes it up again",
    "delete": "delete THREAD: remove a thread for good; asks for --yes",
    "replay": "replay NAME: play a tape instead of calling a model; replay off: call models again",
}

LINE_HELP: Final = "Work with threads and settings.\n\nUsage::\n\n" + "".join(
    f"    %codex {text}\n" for text in ("", *SUBCOMMANDS.values()) if text
)


@magics_class
class CodexMagics(Magics):
    """``%%codex`` and ``%codex``; its traits are the defaults of every turn."""

    model = Unicode(None, allow_none=True, help="the model to ask").tag(config=True)
    effort = Unicode(None, allow_none=True, help="how hard the model thinks").tag(config=True)
    summary = Unicode(None, allow_none=True, help="how much of its thoughts is told").tag(
        config=True
    )
    sandbox = Unicode(None, allow_none=True, help="what commands may touch").tag(config=True)
    approval = Unicode(None, allow_none=True, help="when to ask before acting").tag(config=True)
    timeout_s = Float(None, allow_none=True, help="seconds a command may take").tag(config=True)
    agents_md = Bool(None, allow_none=True, help="tell the model the project's AGENTS.md").tag(
        config=True
    )
    rules = Unicode(None, allow_none=True, help="a file with your rules for commands").tag(
        config=True
    )
    audit = Bool(None, allow_none=True, help="log each command").tag(config=True)
    widget = Bool(None, allow_none=True, help="show a running turn as a widget").tag(config=True)
    names = Bool(None, allow_none=True, help="tell the model the names of your variables").tag(
        config=True
    )
    reuse = Bool(None, allow_none=True, help="show unchanged turns as the notebook keeps them").tag(
        config=True
    )

    backend = Unicode(None, allow_none=True, help="where turns run: app-server, responses").tag(
        config=True
    )
    aliases = Unicode(None, allow_none=True, help="further names of models: NAME=MODEL,…").tag(
        config=True
    )
    base_url = Unicode(None, allow_none=True, help="another host of the Responses API").tag(
        config=True
    )
    env_key = Unicode(None, allow_none=True, help="the variable that holds its key").tag(
        config=True
    )
    chatgpt = Bool(
        None, allow_none=True, help="let the responses backend use a ChatGPT sign-in (unofficial)"
    ).tag(config=True)
    tools = Bool(None, allow_none=True, help="offer the agent tools").tag(config=True)
    shell_tool = Unicode(
        None, allow_none=True, help="the form of the responses backend's shell"
    ).tag(config=True)
    web_search = Bool(None, allow_none=True, help="let the model's host search the web").tag(
        config=True
    )
    account = Unicode(None, allow_none=True, help="the name of a sign-in beside the first").tag(
        config=True
    )
    token_source = Unicode(None, allow_none=True, help="where a ChatGPT token comes from").tag(
        config=True
    )
    token_file = Unicode(None, allow_none=True, help="the file it stands in").tag(config=True)
    token_url = Unicode(None, allow_none=True, help="the address that tells it").tag(config=True)
    token_host = Unicode(None, allow_none=True, help="the host whose file holds it").tag(
        config=True
    )
    token_command = Unicode(None, allow_none=True, help="the program that prints it").tag(
        config=True
    )

    def __init__(self, shell: InteractiveShell, **kwargs: Any) -> None:
        self._is_made = False
        super().__init__(shell, **kwargs)
        self._is_made = True
        self._shell = shell
        self._session: Session | None = None
        self._remove_lines: Callable[[], None] = _nothing
        self._front = front.Front(shell)
        self._taken: str | None = None

    @validate(*settings.CHECKED)
    def _checked(self, proposal: Any) -> Any:
        """Refuse a value that a person sets; one of a file is named by whatever needs it."""
        name, value = proposal.trait.name, proposal.value
        if self._is_made and value not in (None, ""):
            try:
                settings.changed(settings.Settings(), {name: value}, origin=f"{_OWN}.")
            except CellError as error:
                # Else it would be set again with whatever is set next.
                self.config[_OWN].pop(name, None)
                raise TraitError(str(error)) from None
        return value

    def session(self) -> Session:
        """Return this kernel's session, made at first use."""
        from codex_magic.session import Session  # noqa: PLC0415 - loading must stay light

        now = self._settings()
        if self._session is None:
            self._session = Session(now)
        self._session.settings = now
        return self._session

    def _settings(self) -> settings.Settings:
        values = ((f.name, getattr(self, f.name, None)) for f in fields(settings.Settings))
        chosen = {name: value for name, value in values if value not in (None, "")}
        return settings.changed(settings.from_environment(), chosen, origin=f"{_OWN}.")

    # --- the magics ---------------------------------------------------------------------------

    def line(self, line: str) -> Any:
        """Run a subcommand and return what it has to show; `LINE_HELP` is what a person reads."""
        word, rest = [*line.split(maxsplit=1), "", ""][:2]
        if word in ("", "help", "-h", "--help"):
            print(LINE_HELP)
            return None
        if word not in SUBCOMMANDS:
            import difflib  # noqa: PLC0415 - only a mistyped word needs it

            near = difflib.get_close_matches(word, SUBCOMMANDS, n=1)
            hint = f"Did you mean %codex {near[0]}?" if near else "Type %codex for those there are"
            raise CellError(f"there is no subcommand {word!r}", hint=hint)
        action: Callable[[str], Any] = getattr(self, f"_{word}")
        return action(rest.strip())

    def cell(self, line: str, body: str) -> None:
        """Send a cell; what a person reads of it is `CELL_HELP`."""
        if cell.asks_for_help(line):
            print(CELL_HELP)
            return
        if self._front.is_dropped():
            print("Dropped: the turn before this cell was stopped together with it.")
            return
        session = self._placed()
        request = cell.parse(
            line,
            body,
            settings=session.settings,
            cwd=_here(),
            thread=session.current,
            names=self._front.names(),
        )
        decided = request.new or request.resume or request.private or request.fork is not None
        if self._taken and not decided:
            request = replace(request, resume=self._taken)
        named = cell.inputs(line)
        request, shape = self._found(named, request)
        answer = self._run(request, shape)
        if named.out and answer.has_value:
            self._bind(named.out, answer.value)

    def ask(self, prompt: Any, said: Mapping[str, Any]) -> Turn:
        """Run a turn on the current thread, in the running cell; see `codex_magic.ask`."""
        from codex_magic.api import inputs, options  # noqa: PLC0415 - loading must stay light

        here = _here()
        given = options.read(said, "turn", base=here)
        shape = options.shape(given.values)
        if "approver" in given.values:
            raise CellError("in a notebook the person is asked", hint="Leave out approver")
        text, images = inputs.read(prompt, given.values.get("images", ()))
        session = self._placed()
        request = options.request(
            text,
            given.values,
            settings=session.settings,
            cwd=here.resolve(),
            thread=session.current,
            images=images,
            shape=shape,
        )
        names = self._front.names() if session.settings.names else ()
        request = replace(request, names=names, reuse=session.settings.reuse)
        if self._taken:
            request = replace(request, resume=self._taken)
        session.attachment.news += given.news
        return self._run(request, shape).turn

    @property
    def last(self) -> Turn | None:
        """The turn that was run last."""
        return self._session.last if self._session else None

    def _placed(self) -> Session:
        """Return the session, which knows by now which notebook this is."""
        session = self.session()
        place, from_top = self._front.place()
        session.at(place.path, place.cell_id, from_top=from_top)
        return session

    def _found(self, named: Inputs, request: TurnRequest) -> tuple[TurnRequest, Shape | None]:
        from codex_magic import inputs  # noqa: PLC0415 - loading must stay light

        return inputs.find(named, request, _here(), self._shell.user_ns)

    def _run(self, request: TurnRequest, shape: Shape | None) -> Answered:
        from codex_magic import typed  # noqa: PLC0415 - loading must stay light

        session = self.session()
        before = session.last

        def play(request: TurnRequest) -> Turn:
            shown = self._front.shown(request, widget=session.settings.widget)
            with shown as (page, approver, notebook):
                return session.run(request, page=page, approver=approver, notebook=notebook)

        try:
            answer = typed.run(session, request, shape, play)
        except KeyboardInterrupt:
            raise TurnInterrupted("the turn was stopped; what had arrived is kept") from None
        finally:
            if request.resume and session.last is not before:
                self._taken = None
        if answer.turn.status == "failed":
            raise _failure(answer.turn)
        return answer

    def _bind(self, name: str, value: Any) -> None:
        from codex_magic import inputs  # noqa: PLC0415 - loading must stay light

        if said := inputs.shadows(name):
            print(said)
        self._shell.push({name: value})

    # --- subcommands --------------------------------------------------------------------------

    def _ask(self, text: str) -> None:
        self.cell("", text)

    def _status(self, _rest: str) -> None:
        from codex_magic import status  # noqa: PLC0415

        for line in status.lines(self._placed()):
            print(line)

    def _login(self, rest: str) -> None:
        from codex_magic.account import magic  # noqa: PLC0415

        magic.login(self.session(), rest, self._door())

    def _logout(self, rest: str) -> None:
        from codex_magic.account import magic  # noqa: PLC0415

        magic.logout(self.session(), rest, self._door())

    def _door(self) -> Door:
        from codex_magic.account import magic  # noqa: PLC0415

        front = self._front
        return magic.door(front.board(), has_person=front.has_person(), in_kernel=front.has_kernel)

    def _models(self, rest: str) -> Any:
        from codex_magic.account import magic  # noqa: PLC0415

        return magic.models(self.session(), rest)

    def _usage(self, rest: str) -> Any:
        from codex_magic.account import magic  # noqa: PLC0415

        return magic.usage(self.session(), rest)

    def _sandbox(self, _rest: str) -> None:
        from codex_magic import status  # noqa: PLC0415

        for line in status.sandbox_lines(self.session()):
            print(line)

    def _audit(self, rest: str) -> Any:
        from codex_magic import folder, ledger  # noqa: PLC0415
        from codex_magic.sandbox import audit  # noqa: PLC0415

        if rest and not (rest.isdecimal() and int(rest) > 0):
            raise CellError(f"{rest!r} is no number of commands", hint="Type: %codex audit 20")
        return ledger.table(audit.read(folder.data() / folder.AUDIT, int(rest or 20)))

    def _doctor(self, _rest: str) -> None:
        from codex_magic import doctor  # noqa: PLC0415

        for check in doctor.examine(self.session()):
            print(check)

    def _stop(self, _rest: str) -> None:
        self.session().stop()

    def _steer(self, text: str) -> None:
        self.session().steer(text)

    def _threads(self, _rest: str) -> None:
        from codex_magic import listing  # noqa: PLC0415

        for line in listing.threads(self._placed(), str(_here().resolve())):
            print(line)

    def _show(self, rest: str) -> None:
        from codex_magic import listing  # noqa: PLC0415

        words = _words(rest)
        plain = [word for word in words if word != "--md"]
        turns = self._placed().shelf.turns(_one(plain, "show [THREAD] [--md]"))
        for line in (listing.markdown if "--md" in words else listing.turns)(turns):
            print(line)

    def _switch(self, rest: str) -> None:
        name = self._placed().shelf.switch(_one(_words(rest), "switch THREAD", least=1))
        self._taken = None
        print(f"Cells that name no thread use {name} now.")

    def _new(self, rest: str) -> None:
        name = self._placed().shelf.begin(_one(_words(rest), "new [THREAD]"))
        self._taken = None
        print(f"The next cell begins {name} afresh.")

    def _resume(self, rest: str) -> None:
        self._taken = _one(_words(rest), "resume ID|last", least=1)
        print(f"The next cell takes up {self._taken}.")

    def _fork(self, rest: str) -> None:
        from codex_magic.seating import back_to  # noqa: PLC0415 - loading must stay light

        session = self._placed()
        source = session.current
        name, number = session.shelf.fork(source, _one(_words(rest), "fork [TURN]"))
        self._taken = None
        print(f"The next cell goes on from turn {number} of {source}, in the branch {name}.")
        print(f"T{back_to(source)[1:]}")

    def _rename(self, rest: str) -> None:
        words = _words(rest)
        if len(words) not in (1, 2):
            raise CellError("no name is given", hint="Type: %codex rename [THREAD] NAME")
        old = self._placed().shelf.rename(words[0] if words[1:] else "", words[-1])
        print(f"{old} is called {words[-1]} now.")

    def _archive(self, rest: str) -> None:
        word = _one(_words(rest), "archive THREAD", least=1)
        thread_id = self._placed().shelf.archive(word)
        again = f"To take it up again, type: %%codex --resume {thread_id}"
        print(f"Archived. {again}" if thread_id else f"{word} had not begun; it is gone.")

    def _delete(self, rest: str) -> None:
        from codex_magic.shelf import quoted  # noqa: PLC0415 - loading must stay light

        words = _words(rest)
        word = _one([word for word in words if word != "--yes"], "delete THREAD --yes", least=1)
        shelf = self._placed().shelf
        if "--yes" not in words:
            count = len(shelf.turns(word))
            print(f"{word} has {count} turn{'' if count == 1 else 's'}; nothing brings it back.")
            print(f"To delete it, type: %codex delete {quoted(word)} --yes")
            return
        thread_id = shelf.delete(word)
        rest = "What the notebook shows of it stays in its outputs."
        print(
            f"Deleted: {thread_id}. {rest}" if thread_id else f"{word} had not begun; it is gone."
        )

    def _replay(self, name: str) -> None:
        name = name.strip("\"'")
        from codex_magic import tape  # noqa: PLC0415
        from codex_magic.render import words  # noqa: PLC0415

        if not name:
            print("Lessons: " + ", ".join(tape.lessons()))
            return
        found = self.session().replay(None if name == "off" else name)
        if found is None:
            print("Turns call a model again.")
            return
        name = words.one_line(words.clean(found.name))
        print(f"Tape {name} is on: no model is called, commands run for real. Its prompts:")
        for prompt in found.prompts:
            print("  - " + words.prose(prompt).replace("\n", "\n    "))

    # --- coming and going ---------------------------------------------------------------------

    def install(self) -> None:
        """Add what belongs to the magics beside themselves."""
        register: Callable[..., None] = self._shell.register_magic_function
        for kind, work, text in (("line", self.line, LINE_HELP), ("cell", self.cell, CELL_HELP)):
            register(_literal(work, text), kind, "codex")
        self._remove_lines = lines.install(self._shell, SUBCOMMANDS, self._names, _lessons)
        atexit.register(self.close)

    def remove(self) -> None:
        """Take away everything, and end what the session started."""
        self.close()
        atexit.unregister(self.close)
        self._remove_lines()
        manager = self._shell.magics_manager
        for kind in ("line", "cell"):
            manager.magics[kind].pop("codex", None)
        manager.registry.pop(type(self).__name__, None)
        vars(manager.user_magics).pop("codex", None)
        # Else `%config` would go on with the traits of the first one ever loaded.
        configurables: list[Any] = self._shell.configurables
        configurables.remove(self)

    def close(self) -> None:
        """End everything this kernel's session started."""
        session, self._session = self._session, None
        self._front.close()
        if session is not None:
            session.close()

    def _names(self) -> list[str]:
        return list(dict.fromkeys(("main", *(self._session.threads if self._session else ()))))


_OWN: Final = CodexMagics.__name__


def _literal(work: Callable[..., Any], text: str) -> Callable[..., None]:
    """Return `work` as a magic whose line IPython passes on as it was typed."""

    def codex(*words: str) -> Any:
        return work(*words)

    codex.__doc__ = text
    literal: Callable[..., None] = no_var_expand(codex)
    return literal


def _words(rest: str) -> list[str]:
    """Return the words of a line; a name with spaces stands in quotes."""
    import shlex  # noqa: PLC0415 - loading must stay light

    try:
        return shlex.split(rest)
    except ValueError as error:
        raise CellError(f"the line cannot be read: {str(error).lower()}") from None


def _one(words: list[str], usage: str, *, least: int = 0) -> str:
    """Return the only word, or an empty text where there is none and none is needed."""
    if not least <= len(words) <= 1:
        raise CellError("that is not how it is used", hint=f"Type: %codex {usage}")
    return words[0] if words else ""


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise CellError(
            "the kernel's folder is gone", hint="Type %cd and one that is there"
        ) from None


def _nothing() -> None:
    """Take nothing away: nothing was added yet."""


def _lessons() -> list[str]:
    from codex_magic import tape  # noqa: PLC0415

    return list(tape.lessons())


def _failure(turn: Turn) -> Exception:
    from codex_magic.backends.hints import hint  # noqa: PLC0415
    from codex_magic.errors import BackendError  # noqa: PLC0415
    from codex_magic.mask import known_secrets, mask  # noqa: PLC0415

    error = turn.error
    if error is None:
        return BackendError("the turn failed")
    # An error is an output too, and is saved with the notebook.
    message = mask(error.message, known_secrets()).rstrip(".")
    return BackendError(f"the turn failed: {message}", hint=hint(error))


def loaded() -> CodexMagics:
    """Return the magics of this kernel.

    Raises
    ------
    CellError
        The extension is not loaded.
    """
    found = _found(get_ipython())
    if found is None:
        raise CellError(
            "no notebook has this extension loaded",
            hint="Run: %load_ext codex_magic; in a program of your own, use codex_magic.Codex",
        )
    return found


def last() -> Turn | None:
    """Return the turn that the notebook ran last, if any."""
    found = _found(get_ipython())
    return None if found is None else found.last


def _found(shell: InteractiveShell | None) -> CodexMagics | None:
    found = shell.magics_manager.registry.get(CodexMagics.__name__) if shell else None
    return found if isinstance(found, CodexMagics) else None


def load(shell: InteractiveShell) -> None:
    """Add the magics, the literal lines and the completions to `shell`."""
    unload(shell)
    magics = CodexMagics(shell=shell, parent=shell)
    shell.register_magics(magics)
    magics.install()
    for line in unfinished.lines():
        print(line)


def unload(shell: InteractiveShell) -> None:
    """Take away what `load` added, and end what the session started."""
    magics = _found(shell)
    if magics is not None:
        magics.remove()
