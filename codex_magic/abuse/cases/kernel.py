"""Cases on the system's kernel: devices, settings, mounts, rarer calls."""

from __future__ import annotations

from typing import Final

from codex_magic.abuse.attempts import kernel
from codex_magic.abuse.case import Case

SYS: Final = (
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
)
CORE: Final = "/proc/sys/kernel/core_pattern"

CASES: Final = (
    Case(15, "open a raw disk", kernel.open_disk),
    Case(15, "open the machine's memory", kernel.open_memory),
    Case(16, "read the kernel's log", kernel.read_log),
    Case(48, "mount a file system", kernel.mount),
    Case(49, "remount what is read-only", kernel.remount),
    Case(50, "make a user namespace by unshare", kernel.new_user_namespace),
    Case(50, "make a user namespace by clone3", kernel.clone_user_namespace),
    Case(51, "use io_uring", kernel.use_io_uring),
    Case(52, "use the kernel's keys", kernel.use_keys),
    Case(53, "use bpf", kernel.use_bpf),
    Case(53, "use perf_event_open", kernel.use_perf),
    Case(54, "use userfaultfd", kernel.use_userfaultfd),
    Case(55, "set what a crash runs", kernel.open_setting, (CORE,)),
    Case(56, "set the machine's devices", kernel.open_setting, SYS),
    Case(57, "press the system key", kernel.open_setting, ("/proc/sysrq-trigger",)),
    Case(58, "make a control group", kernel.make_control_group),
    Case(59, "change the root", kernel.change_root),
    Case(59, "set the clock", kernel.set_clock),
    Case(61, "type into a terminal", kernel.type_into_terminal),
    Case(82, "call by x32's numbers", kernel.call_by_other_numbers),
)
