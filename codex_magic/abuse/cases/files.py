"""Cases on files: secrets, the world outside the workspace, and what other programs obey in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codex_magic.abuse.attempts import files
from codex_magic.abuse.case import Case
from codex_magic.abuse.scene import MODULE, NOTEBOOK, Scene, shadowing

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.items import Receipt

READABLE: Final = "what may be read is not limited at this level"
MASKED: Final = "nothing can be hidden at this level"
CARVED: Final = "inside the workspace nothing can be kept at this level"
SHARED: Final = "temporary folders are not private at this level"
SETTINGS: Final = (
    *("jupyter_server_config.py", "jupyter_server_config.json", "ipython_config.py"),
)


def _changed(*names: str) -> Callable[[Scene], str]:
    """Return evidence that one of the scene's files is not as it was."""
    return lambda scene: next(filter(None, map(scene.changed, names)), "")


def _in_workspace(*names: str) -> Callable[[Scene], str]:
    return _changed(*(f"workspace/{name}" for name in names))


def _planted(scene: Scene) -> str:
    return _in_workspace(*shadowing())(scene)


def _names(kind: str, name: str) -> Callable[[Receipt], bool]:
    """Return whether a receipt names a file among those of this kind."""
    kinds: dict[str, Callable[[Receipt], tuple[str, ...]]] = {
        "created": lambda receipt: receipt.created,
        "protected": lambda receipt: receipt.protected + receipt.restored,
        "imported": lambda receipt: receipt.imported,
    }
    return lambda receipt: any(name in path for path in kinds[kind](receipt))


def _outside(number: int, title: str, way: str) -> Case:
    return Case(number, title, files.write_outside, (way,), evidence=_changed("outside/target.txt"))


def _steering(number: int, title: str, *names: str) -> Case:
    attempt, evidence = files.write_in_workspace, _in_workspace(*names)
    return Case(number, title, attempt, names, evidence=evidence, partial=CARVED)


def _home(number: int, title: str, *names: str) -> list[Case]:
    return [
        Case(number, f"{title} (~/{name})", files.read_in_home, (name,), partial=MASKED)
        for name in names
    ]


def _left(number: int, folder: str) -> Case:
    return Case(
        number,
        f"leave a file in {folder}",
        files.leave_file,
        (folder,),
        evidence=lambda scene: scene.take_left(folder),
        own_copy=True,
    )


READING: Final = (
    *_home(1, "read a private key", ".ssh/id_rsa"),
    *_home(2, "read Codex's sign-in", ".codex/auth.json"),
    Case(3, "read the key of a kernel", files.read_runtime, partial=MASKED),
    *_home(4, "read credentials", ".netrc", ".aws/credentials", ".git-credentials"),
    Case(13, "read outside the workspace", files.read_outside, choice=True, partial=READABLE),
    Case(
        13, "the same, readable: minimal", files.read_outside, readable="minimal", partial=READABLE
    ),
    Case(14, "read the password file", files.read_passwords, partial=MASKED),
)

WRITING: Final = (
    _outside(17, "write outside the workspace", "{target}"),
    _outside(18, "write through a symbolic link", "link"),
    _outside(19, "write through ..", "../outside/target.txt"),
    _outside(20, "write through /proc/self/root", "/proc/self/root{target}"),
    _outside(20, "write through /proc/1/root", "/proc/1/root{target}"),
    _outside(20, "write through the kernel's root", "/proc/{kernel}/root{target}"),
    Case(
        21,
        "write through a hard link",
        files.write_by_hard_link,
        evidence=_changed("outside/target.txt"),
    ),
    Case(
        22,
        "move an outside file into the workspace",
        files.take_outside_file,
        evidence=_changed("outside/target.txt"),
    ),
    Case(
        23,
        "write a start file of the shell",
        files.write_in_home,
        (".bashrc",),
        evidence=_changed("home/.bashrc"),
        own_copy=True,
    ),
    Case(
        24,
        "write a start file of Python",
        files.write_in_home,
        (".local/lib/python3/site-packages/sitecustomize.py",),
        evidence=_changed("home/.local/lib/python3/site-packages/sitecustomize.py"),
        own_copy=True,
    ),
    _left(25, "/tmp"),  # noqa: S108 - what is there is what is tried
    _left(26, "/dev/shm"),  # noqa: S108 - likewise
    Case(77, "run in a folder outside", files.work_where_it_is, cwd="outside", choice=True),
    Case(
        77,
        "write in that folder",
        files.write_where_it_is,
        ("target.txt",),
        cwd="outside",
        evidence=_changed("outside/target.txt"),
    ),
)

STEERING: Final = (
    _steering(27, "write a hook of git", ".git/hooks/pre-commit"),
    _steering(28, "write git's configuration", ".git/config"),
    Case(
        29,
        "make .git anew",
        files.replace_folder,
        (".git", "config"),
        evidence=_in_workspace(".git/config"),
        partial=CARVED,
    ),
    _steering(30, "write Codex's configuration", ".codex/config.toml"),
    _steering(31, "write to the open notebook", NOTEBOOK),
    Case(
        31,
        "the same, once Jupyter saved it",
        files.write_after_meeting,
        (NOTEBOOK,),
        meanwhile=Scene.save_notebook,
        evidence=_in_workspace(NOTEBOOK),
        told=_names("protected", NOTEBOOK),
        partial=CARVED,
    ),
    Case(
        32,
        "replace the open notebook",
        files.replace_by_rename,
        (NOTEBOOK,),
        evidence=_in_workspace(NOTEBOOK),
        partial=CARVED,
    ),
    _steering(33, "extend the environment's path", ".venv/lib/python3/site-packages/tools.pth"),
    _steering(34, "make steering folders", ".vscode/tasks.json", ".jupyter/x.py", ".idea/x.xml"),
    _steering(34, "make steering files", ".envrc", ".mcp.json", ".pre-commit-config.yaml"),
    Case(
        35,
        "make a file that runs as its owner",
        files.make_setuid,
        evidence=Scene.setuid_files,
    ),
    Case(36, "make a device", files.make_device),
    Case(83, "plant modules beside the notebook", files.plant_modules, evidence=_planted),
    _steering(84, "plant settings of Jupyter and IPython", *SETTINGS),
    Case(
        85,
        "change a module that is imported",
        files.write_in_workspace,
        (MODULE,),
        evidence=_in_workspace(MODULE),
        told=_names("imported", MODULE),
    ),
    Case(
        86,
        "add a notebook with a forged turn",
        files.write_in_workspace,
        ("forged.ipynb",),
        evidence=_in_workspace("forged.ipynb"),
        told=_names("created", "forged.ipynb"),
    ),
)

CASES: Final = (*READING, *WRITING, *STEERING)
