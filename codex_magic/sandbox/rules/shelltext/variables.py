"""Which variables decide what programs run, and which values a shell may evaluate."""

from __future__ import annotations

import re
from typing import Final

STEERING: Final = re.compile(
    r"PATH|LD_.*|DYLD_.*|IFS|BASH_?.*|ENV|PS\d|PROMPT_COMMAND|SHELLOPTS|ZDOTDIR|FPATH"
    r"|GCONV_PATH|NODE_OPTIONS|PERL5.*|RUBYOPT|RUBYLIB|JAVA_TOOL_OPTIONS|GIT_CONFIG.*|GIT_EXEC_PATH"
    r"|PYTHON(?:PATH|HOME|STARTUP|USERBASE|INSPECT|BREAKPOINT|EXECUTABLE|WARNINGS)"
)
STARTING: Final = re.compile(
    r"EDITOR|VISUAL|(?:\w*_)?PAGER|\w+_EDITOR|BROWSER|LESSOPEN|LESSCLOSE|SHELL|RSYNC_RSH|CVS_RSH"
    r"|\w+_ASKPASS|GIT_SSH.*|GIT_PROXY_COMMAND|GIT_EXTERNAL_DIFF|TAR_OPTIONS|MAKEFLAGS"
)
HARMLESS: Final = frozenset(("", "cat", "true", ":", "less", "more", "never"))
SUBSCRIPT: Final = re.compile(r"\[[^\]]*(?:\$\(|`)")


def steers(name: str, value: str | None = None) -> bool:
    """Return whether a variable decides which programs run, or names one."""
    if STEERING.fullmatch(name):
        return True
    return bool(STARTING.fullmatch(name)) and (value is None or str(value) not in HARMLESS)


def evaluated(value: str) -> bool:
    """Return whether a shell that takes `value` for a number would run what stands in it."""
    return SUBSCRIPT.search(value) is not None
