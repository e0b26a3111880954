"""Threads on disk: what is written comes back, whatever happens to the file or to the kernel."""

from __future__ import annotations

import json
import os
import resource
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_magic.backends.base import StoredTurn, ThreadMissingError
from codex_magic.backends.responses import lines
from codex_magic.backends.responses.store import OPEN, BusyError, Store, new_id
from codex_magic.errors import RecordError
from codex_magic.purge import holdings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from codex_magic.backends.responses.log import ThreadLog

Json = dict[str, Any]


def user(text: str) -> Json:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


def agent(text: str) -> Json:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "role": "assistant", "content": content}


CALL: Json = {"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}"}
OUTPUT: Json = {"type": "function_call_output", "call_id": "c", "output": "x"}
ABORTED: Json = OUTPUT | {"output": "aborted"}


def turn(log: ThreadLog, number: int, *items: Json, model: str = "m", end: bool = True) -> None:
    log.begin_turn(f"t{number}", model=model, account="a", prompt=f"prompt {number}")
    log.add([user(f"prompt {number}")])
    log.add(items or [agent(f"answer {number}")])
    if end:
        log.end_turn("completed")


def begun(store: Store, *numbers: int, cwd: str = "/w") -> str:
    """Return the id of a thread that a kernel has left."""
    log = store.begin(cwd)
    for number in numbers or (1,):
        turn(log, number)
    store.close()
    return log.thread_id


def path_of(environ: dict[str, str], thread_id: str) -> Path:
    return Path(environ["JUPYTER_DATA_DIR"], "codex_magic", "threads", f"{thread_id}.jsonl")


def kinds(path: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in path.read_text().splitlines() if line]


def said(*numbers: int) -> list[Json]:
    return [item for n in numbers for item in (user(f"prompt {n}"), agent(f"answer {n}"))]


def facts(log: ThreadLog) -> tuple[str, str, str, str, list[Json], list[str]]:
    return log.cwd, log.title, log.model, log.account, log.items, log.notices


# --- a thread's life --------------------------------------------------------------------------


def test_what_is_written_comes_back(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w", "n", history=[user("before")])
    path = path_of(environ, log.thread_id)
    assert not path.parent.exists()
    turn(log, 1)
    turn(log, 2, CALL, OUTPUT, model="other")
    assert kinds(path) == ["thread", "items", *["turn", "items", "items", "end"] * 2]
    items = [user("before"), *said(1), user("prompt 2"), CALL, OUTPUT]
    assert facts(log) == ("/w", "n", "other", "a", items, [])
    store.close()
    assert facts(store.open(log.thread_id)) == ("/w", "n", "other", "a", items, [])
    assert store.open(log.thread_id) is store.open(log.thread_id)
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parents[1])]
    assert modes == [0o600, 0o700, 0o700]


def test_what_was_said_is_shown(store: Store) -> None:
    log = store.begin("/w", history=[user("before")])
    log.begin_turn("t1", model="m", account="a", prompt="hello")
    log.add([user("notes"), user("hello"), {"type": "reasoning", "summary": []}])
    log.add([agent("first"), user("steered"), {"type": "message", "role": "developer"}])
    log.add([{"type": "message", "role": "assistant", "content": [{"refusal": "no"}, 7]}])
    log.end_turn("completed")
    said = (("user", "hello"), ("agent", "first"), ("user", "steered"), ("agent", "no"))
    assert store.turns(log.thread_id) == [StoredTurn("t1", log.thread_id, said)]


def test_a_compacted_thread_sends_less_and_shows_all(store: Store) -> None:
    log = store.begin("/w")
    turn(log, 1)
    log.begin_turn("t2", model="m", account="a", prompt="prompt 2")
    log.compact([user("in short")])
    log.add([user("prompt 2"), agent("answer 2")])
    log.end_turn("completed")
    store.close()
    expected = [user("in short"), *said(2)]
    assert (log.items, store.open(log.thread_id).items) == (expected, expected)
    assert [turn.said[1][1] for turn in store.turns(log.thread_id)] == ["answer 1", "answer 2"]


def test_a_private_thread_is_nowhere(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w", private=True)
    turn(log, 1)
    assert (log.is_private, log.items) == (True, said(1))
    assert list(Path(environ["JUPYTER_DATA_DIR"]).parent.iterdir()) == []
    with pytest.raises(ThreadMissingError):
        store.turns(log.thread_id)


def test_a_kernel_killed_in_a_turn_loses_nothing(store: Store, elsewhere: Any) -> None:
    log = store.begin("/w")
    turn(log, 1, CALL, OUTPUT)
    turn(log, 2, CALL | {"call_id": "open"}, end=False)
    store.close()
    other = elsewhere(log.thread_id)
    other.begin("t3")
    other.kill()
    again = store.open(log.thread_id)
    aborted = ABORTED | {"call_id": "open"}
    three = {"type": "message", "role": "user", "content": "t3"}
    history = [user("prompt 1"), CALL, OUTPUT]
    history += [user("prompt 2"), CALL | {"call_id": "open"}, aborted, three]
    assert (other.items, again.items, again.notices) == (6, history, [])
    turn(again, 4)
    record = lines.fold(path_of(store._environ, log.thread_id).read_bytes().splitlines())  # type: ignore[arg-type]
    ends = ["completed", "interrupted", "interrupted", "completed"]
    assert [turn.status for turn in record.turns] == ends
    assert record.items == [*history, *said(4)]


def test_ids_are_in_the_order_of_their_making() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert {(len(each), each[14]) for each in ids} == {(36, "7")}


# --- forks ------------------------------------------------------------------------------------


def test_a_fork_has_the_turns_up_to_one(store: Store, environ: dict[str, str]) -> None:
    thread_id = begun(store, 1, 2, 3)
    fork = store.fork(thread_id, "t2")
    assert not path_of(environ, fork.thread_id).exists()
    assert facts(fork) == ("/w", "", "m", "a", said(1, 2), [])
    turn(fork, 4)
    store.close()
    assert store.open(fork.thread_id).items == said(1, 2, 4)
    assert store.open(thread_id).items == said(1, 2, 3)
    head = json.loads(path_of(environ, fork.thread_id).read_text().splitlines()[0])
    assert head["parent"] == {"thread_id": thread_id, "turn_id": "t2"}


def test_a_fork_of_a_turn_that_never_ended(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w")
    turn(log, 1, CALL, end=False)
    turn(log, 2)
    forks = [store.fork(log.thread_id, "t1")]
    assert forks[0].items == [user("prompt 1"), CALL, ABORTED]
    turn(log, 3, end=False)
    forks.append(store.fork(log.thread_id))
    statuses = []
    for fork in forks:
        turn(fork, 4)
        raws = path_of(environ, fork.thread_id).read_bytes().splitlines()
        statuses.append([told.status for told in lines.fold(raws).turns])
    assert statuses == [
        ["interrupted", "completed"],
        ["", "completed", "interrupted", "completed"],
    ]


def test_a_fork_keeps_what_a_newer_version_wrote(store: Store, environ: dict[str, str]) -> None:
    thread_id = begun(store)
    path = path_of(environ, thread_id)
    newer = '{"kind":"mood","value":"fine"}'
    path.write_text(path.read_text().replace('{"kind":"end"', f'{newer}\n{{"kind":"end","new":1'))
    fork = store.fork(thread_id)
    turn(fork, 2)
    found = path_of(environ, fork.thread_id).read_text()
    assert (newer in found, '"new":1' in found, fork.notices) == (True, True, [])


def test_a_fork_of_a_turn_that_never_was(store: Store) -> None:
    thread_id = begun(store)
    with pytest.raises(ThreadMissingError) as caught:
        store.fork(thread_id, "t9")
    assert str(caught.value) == (
        f"thread {thread_id} has no turn 't9'. Type %codex show for its turns"
    )


def test_a_compaction_behind_a_turn_is_not_in_its_fork(store: Store) -> None:
    log = store.begin("/w")
    turn(log, 1)
    log.compact([user("in short")])
    turn(log, 2)
    assert store.fork(log.thread_id, "t1").items == said(1)
    assert store.fork(log.thread_id).items == [user("in short"), *said(2)]


def test_a_compaction_behind_the_last_turn_is_in_its_fork(store: Store) -> None:
    log = store.begin("/w")
    turn(log, 1)
    log.compact([user("in short")])
    assert store.fork(log.thread_id, "t1").items == [user("in short")]


# --- two processes ----------------------------------------------------------------------------


def test_one_process_writes_a_thread_and_any_reads_it(store: Store, elsewhere: Any) -> None:
    thread_id = begun(store)
    other = elsewhere(thread_id)
    using = f"another program is using thread {thread_id}, so it cannot be "
    with pytest.raises(BusyError) as caught:
        store.open(thread_id)
    assert caught.value.message == using + "gone on with"
    with pytest.raises(BusyError) as caught:
        store.delete(thread_id)
    assert caught.value.message == using + "deleted"
    other.begin("t2")
    fork = store.fork(thread_id)
    assert fork.items == [*said(1), {"type": "message", "role": "user", "content": "t2"}]
    store.rename(thread_id, "called")
    store.archive(thread_id)
    assert store.stored(None, 9) == []
    other.begin("t3")  # and so it is in use again
    assert [row.preview for row in store.stored(None, 9)] == ["called"]
    assert [turn.turn_id for turn in store.turns(thread_id)] == ["t1", "t2", "t3"]
    other.kill()
    assert facts(store.open(thread_id))[1] == "called"


def test_a_forked_process_does_not_keep_a_thread(store: Store) -> None:
    log = store.begin("/w")
    turn(log, 1)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    store.close()
    assert store.open(log.thread_id).items == said(1)
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)


def test_a_name_given_from_elsewhere_is_a_line_of_its_own(
    store: Store, environ: dict[str, str]
) -> None:
    thread_id = begun(store)
    path = path_of(environ, thread_id)
    store.rename(thread_id, "whole")
    assert (store.open(thread_id).title, store.open(thread_id).notices) == ("whole", [])
    store.close()
    path.write_bytes(path.read_bytes() + b'{"kind":"it')
    store.rename(thread_id, "torn")
    assert [row.preview for row in store.stored(None, 9)] == ["torn"]
    told = f"1 line of thread {thread_id} cannot be read and counts for nothing"
    assert facts(store.open(thread_id)) == ("/w", "torn", "m", "a", said(1), [told])


def test_a_turn_is_on_the_disk_when_it_ends(store: Store, monkeypatch: Any) -> None:
    synced: list[int] = []
    sync = os.fsync

    def watched(fd: int) -> None:
        sync(fd)
        synced.append(fd)

    monkeypatch.setattr(os, "fsync", watched)
    log = store.begin("/w")
    turn(log, 1, end=False)
    before = len(synced)
    log.end_turn("completed")
    assert (before, len(synced)) == (0, 2)  # the file, and that there is one
    turn(log, 2)
    assert len(synced) == 3


# --- how many are open ------------------------------------------------------------------------


def open_files(environ: dict[str, str]) -> list[str]:
    """The ids of the threads of which this process has the file open."""
    folder = path_of(environ, "x").parent
    found = [fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return sorted(path.stem for path in found if path.parent == folder)


def test_the_threads_used_last_stay_open(
    store: Store, environ: dict[str, str], elsewhere: Any
) -> None:
    logs = [store.begin("/w") for _ in range(2 * OPEN)]
    for log in logs:
        turn(log, 1)
    ids = [log.thread_id for log in logs]
    assert store.held(ids[0]) is logs[0]
    ids.append(begun_here(store))
    assert open_files(environ) == sorted([ids[0], *ids[-OPEN + 1 :]])
    other = elsewhere(ids[1])  # and so others can have it
    assert other.items == 2
    other.kill()
    again = store.open(ids[1])
    assert (again is logs[1], again.items, again.notices) == (False, said(1), [])
    assert open_files(environ) == sorted([ids[0], ids[1], *ids[-OPEN + 2 :]])
    assert [store.held(each) for each in ids[2 : -OPEN + 2]] == [None] * (OPEN + 1)


def begun_here(store: Store) -> str:
    log = store.begin("/w")
    turn(log, 1)
    return log.thread_id


def test_a_thread_that_would_lose_something_stays_open(
    store: Store, environ: dict[str, str]
) -> None:
    kept = [
        store.begin("/w"),
        store.begin("/w", private=True),
        store.begin("/w"),
        store.begin("/w"),
    ]
    running, private, unwritten, _unbegun = kept
    turn(running, 1, end=False)
    turn(private, 1)
    turn(unwritten, 1)
    with full_disk(path_of(environ, unwritten.thread_id).stat().st_size):
        turn(unwritten, 2)
    for _ in range(2 * OPEN):
        begun_here(store)
    assert [store.held(log.thread_id) for log in kept] == kept
    running.end_turn("completed")
    for _ in range(2 * OPEN):
        begun_here(store)
    assert store.held(running.thread_id) is None
    assert store.open(running.thread_id).items == said(1)


# --- damage -----------------------------------------------------------------------------------

WHOLE: list[bytes] = [
    lines.encode(line)
    for line in (
        lines.Head(version=1, id="01" + "0" * 6, cwd="/w", created_at=1.0),
        lines.TurnLine(id="t1", at=1.0, model="m", account="a", request="é"),
        lines.ItemsLine(turn_id="t1", items=[user("é"), agent("è\n")]),
        lines.EndLine(turn_id="t1", status="completed", at=2.0),
        lines.TurnLine(id="t2", at=3.0, model="m", account="a", request="b"),
        lines.ItemsLine(turn_id="t2", items=[user("b"), CALL]),
        lines.ItemsLine(turn_id="t2", items=[OUTPUT]),
        lines.EndLine(turn_id="t2", status="completed", at=4.0),
    )
]
CUTS = range(sum(map(len, WHOLE)) + 1)


@contextmanager
def stored(data: bytes) -> Iterator[tuple[Store, str, Path]]:
    """A store with one file."""
    with tempfile.TemporaryDirectory() as name:
        store, thread_id = Store({"JUPYTER_DATA_DIR": name}), new_id()
        path = path_of({"JUPYTER_DATA_DIR": name}, thread_id)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        yield store, thread_id, path
        store.close()


@given(st.sampled_from(CUTS))
@settings(max_examples=len(CUTS))
def test_a_file_cut_anywhere_has_all_its_whole_lines(cut: int) -> None:
    data = b"".join(WHOLE)[:cut]
    kept = [line for i, line in enumerate(WHOLE) if sum(map(len, WHOLE[: i + 1])) <= cut + 1]
    torn = data[sum(map(len, kept)) :]
    with stored(data) as (store, thread_id, path):
        log = store.open(thread_id)
        assert log.items == lines.fold(kept).items
        aside = path.with_name(f"{path.name}.torn")
        notice = f"the last line of thread {thread_id} was torn; what is left of it is in {aside}"
        assert log.notices == ([notice] if torn else [])
        assert (aside.read_bytes() if torn else b"\n") == torn + b"\n"
        turn(log, 3)
        store.close()
        again = store.open(thread_id)
        assert (again.items, again.notices) == ([*lines.fold(kept).items, *said(3)], [])


BROKEN: list[bytes] = [
    b"\xff\xfe",
    b"nothing",
    b"[1]",
    b'{"kind":"items","turn_id":"t1","items":[7]}',
    b'{"kind":"turn"}',
    b'{"kind":7}',
    b"[" * 100_000,
    b"\x00" * 4096,
]


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("place", range(1, len(WHOLE) + 1))
def test_a_broken_line_counts_for_nothing(line: bytes, place: int) -> None:
    with stored(b"".join([*WHOLE[:place], line + b"\n", *WHOLE[place:]])) as (store, thread_id, _):
        log = store.open(thread_id)
        notice = f"1 line of thread {thread_id} cannot be read and counts for nothing"
        assert (log.items, log.notices) == (lines.fold(WHOLE).items, [notice])


def test_a_call_whose_output_is_lost_is_answered() -> None:
    with stored(b"".join([*WHOLE[:6], b"?\n", WHOLE[7]])) as (store, thread_id, _):
        assert store.open(thread_id).items == [user("é"), agent("è\n"), user("b"), CALL, ABORTED]


def test_a_newer_format_is_refused() -> None:
    head = WHOLE[0].replace(b'"version":1', b'"version":2')
    with stored(b"".join([head, *WHOLE[1:]])) as (store, thread_id, path):
        with pytest.raises(RecordError, match="was stored by a newer version of codex_magic"):
            store.open(thread_id)
        assert path.read_bytes() == b"".join([head, *WHOLE[1:]])


def test_a_link_is_not_followed(store: Store, environ: dict[str, str], tmp_path: Path) -> None:
    thread_id = begun(store)
    path = path_of(environ, thread_id)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(RecordError, match="cannot be used"):
        store.open(thread_id)


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """A limit on the length of files: what is beyond it cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_turn_goes_on_where_nothing_can_be_written(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w")
    turn(log, 1)
    path = path_of(environ, log.thread_id)
    with full_disk(path.stat().st_size + 50):  # in the middle of a line
        turn(log, 2)
    notice = (
        "this thread cannot be stored now (File too large); it goes on, and that is tried again"
    )
    assert (log.items, log.notices) == (said(1, 2), [notice])
    assert store.fork(log.thread_id).items == said(1, 2)
    turn(log, 3)
    store.close()
    assert (store.open(log.thread_id).items, log.notices) == (said(1, 2, 3), [notice])


def test_each_turn_that_cannot_be_written_says_so_once(
    store: Store, environ: dict[str, str]
) -> None:
    log = store.begin("/w")
    turn(log, 1)
    told = []
    with full_disk(path_of(environ, log.thread_id).stat().st_size):
        for number in (2, 3):
            turn(log, number, CALL, OUTPUT)
            told.append(len(log.notices))
    turn(log, 4)
    assert (told, len(log.notices)) == ([1, 2], 2)
    assert {"cannot be stored now (File too large)" in text for text in log.notices} == {True}


def test_what_is_not_written_when_a_kernel_ends_is_tried_once_more(
    store: Store, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    kept, lost = store.begin("/w"), store.begin("/w")
    for log in (kept, lost):
        turn(log, 1)
    size = max(path_of(environ, log.thread_id).stat().st_size for log in (kept, lost))
    with full_disk(size):
        turn(kept, 2)
        turn(lost, 2)
        missing = len(lost.unwritten())
        lost.close()
    store.close()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"the last {missing} bytes of thread {lost.thread_id} are lost: File too large",
        )
    ]
    assert [store.open(log.thread_id).items for log in (kept, lost)] == [said(1, 2), said(1)]


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    store = Store({"JUPYTER_DATA_DIR": str(tmp_path / "data")})
    log = store.begin("/w")
    turn(log, 1)
    assert (log.items, len(log.notices)) == (said(1), 1)
    assert "cannot be used: Not a directory" in log.notices[0]
    (tmp_path / "data").unlink()
    turn(log, 2)
    store.close()
    assert store.open(log.thread_id).items == said(1, 2)
    store.close()


def test_a_file_that_was_removed_is_not_made_again(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w")
    turn(log, 1)
    path_of(environ, log.thread_id).unlink()
    turn(log, 2)
    notice = "this thread's file was removed; what follows is stored nowhere"
    assert (log.items, log.notices, log.is_private) == (said(1, 2), [notice], True)
    assert not path_of(environ, log.thread_id).exists()


def test_halves_of_characters_are_replaced(store: Store) -> None:
    log = store.begin("/w")
    log.begin_turn("t1", model="m", account="a", prompt="\ud800")
    log.add([user("\ud83d\ude00\udc00")])
    log.end_turn("completed")
    store.close()
    assert store.open(log.thread_id).items == [user("😀\ufffd")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ITEMS = st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=3)


@given(st.lists(ITEMS, min_size=1, max_size=4))
def test_whatever_is_added_comes_back(batches: Sequence[list[Json]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = Store({"JUPYTER_DATA_DIR": name})
        log = store.begin("/w")
        log.begin_turn("t", model="m", account="a", prompt="p")
        for batch in batches:
            log.add(batch)
        log.end_turn("completed")
        store.close()
        again = store.open(log.thread_id)
        assert (again.items, again.notices) == ([i for batch in batches for i in batch], [])
        store.close()


# --- the list ---------------------------------------------------------------------------------


def used(environ: dict[str, str], thread_id: str, at: int) -> None:
    os.utime(path_of(environ, thread_id), (at, at))


def test_the_list_is_of_a_folder_and_newest_first(store: Store, environ: dict[str, str]) -> None:
    ids = [begun(store, cwd=cwd) for cwd in ("/w", "/x", "/w", "/w")]
    for at, thread_id in enumerate(ids):
        used(environ, thread_id, 1000 + at)
    store.rename(ids[0], "called")
    store.archive(ids[3])
    path_of(environ, new_id()).write_text("nothing")
    (path_of(environ, ids[0]).parent / "other.jsonl").write_bytes(WHOLE[0])
    rows = store.stored("/w", 9)
    assert [(row.thread_id, row.preview, row.updated_at) for row in rows] == [
        (ids[2], "prompt 1", 1002.0),
        (ids[0], "called", 1000.0),
    ]
    assert (rows[0].cwd, rows[0].origin, rows[0].ours) == ("/w", "codex-magic", True)
    assert [row.thread_id for row in store.stored(None, 2)] == [ids[2], ids[1]]
    assert (
        store.stored("/nowhere", 9) == Store({"JUPYTER_DATA_DIR": "/nowhere"}).stored(None, 9) == []
    )


def test_a_long_turn_does_not_hide_that_a_thread_is_archived(store: Store) -> None:
    log = store.begin("/w")
    turn(log, 1, agent("x" * 100_000))
    store.rename(log.thread_id, "called")
    turn(log, 2, agent("x" * 100_000))
    assert [row.preview for row in store.stored("/w", 9)] == ["called"]
    store.archive(log.thread_id)
    assert store.stored("/w", 9) == []
    store.close()
    turn(store.open(log.thread_id), 3)
    assert [row.preview for row in store.stored("/w", 9)] == ["called"]


def test_one_that_is_archived_while_its_turn_runs(store: Store) -> None:
    log = store.begin("/" + "w" * 5000)
    turn(log, 1, end=False)
    assert [row.cwd for row in store.stored(log.cwd, 9)] == [log.cwd]
    store.archive(log.thread_id)
    log.add([agent("x" * 100_000)])
    assert store.stored(None, 9) == []


def test_a_prompt_cannot_pass_for_a_line(store: Store) -> None:
    log = store.begin("/w")
    lie = '\n{"kind":"archived","archived":true}\n{"kind":"title","title":"lie"}\n'
    log.begin_turn("t", model="m", account="a", prompt=lie * 100)
    log.add([user(lie)])
    log.end_turn("completed")
    rows = store.stored("/w", 9)
    assert [len(row.preview) for row in rows] == [200]
    assert rows[0].preview.startswith('{"kind":"archived","archived":true} {"kind":"title"')


def test_a_thousand_threads_are_listed(store: Store, environ: dict[str, str]) -> None:
    folder = path_of(environ, begun(store)).parent
    for number in range(1000):
        head = lines.Head(version=1, id=new_id(), cwd=f"/{number % 10}", created_at=1.0)
        path = folder / f"{head.id}.jsonl"
        path.write_bytes(b"".join([lines.encode(head), *WHOLE[1:]]))
        os.utime(path, (number, number))
    rows = store.stored("/7", 20)
    assert [row.updated_at for row in rows] == [997.0 - 10 * n for n in range(20)]


def test_a_deleted_thread_is_gone(store: Store, environ: dict[str, str]) -> None:
    log = store.begin("/w")
    turn(log, 1, end=False)
    with pytest.raises(BusyError, match=r"a turn is running in thread .*\. Stop it first"):
        store.delete(log.thread_id)
    log.end_turn("interrupted")
    path = path_of(environ, log.thread_id)
    path.with_name(f"{path.name}.torn").write_text("x")
    store.delete(log.thread_id)
    assert list(path.parent.iterdir()) == []
    for use in (store.open, store.turns, store.fork, store.archive, store.delete):
        with pytest.raises(ThreadMissingError, match="there is no thread"):
            use(log.thread_id)


@pytest.mark.parametrize("thread_id", ["no id", "../../x", "é" * 400, "", new_id()[:-1] + "\n"])
def test_an_id_of_no_thread(store: Store, thread_id: str) -> None:
    for use in (store.open, store.turns, store.fork, store.archive, store.delete):
        with pytest.raises(ThreadMissingError) as caught:
            use(thread_id)
        assert str(caught.value) == (
            f"there is no thread {thread_id!r}. Type %codex threads for those there are"
        )


def test_a_purge_counts_the_threads(store: Store, environ: dict[str, str]) -> None:
    begun(store)
    begun(store)
    found = holdings(path_of(environ, "x").parents[1])
    assert [(holding.what, holding.files) for holding in found] == [
        ("the threads of the responses backend", 2)
    ]
