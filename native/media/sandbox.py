"""What a process that touches strangers' bytes may not do. It confines itself, for good, before the first such byte.

Four fences, each without privileges and inherited by what it starts: a seccomp filter (no sockets, no tracing, no leaving the
process group), Landlock (its own room to write, the programs it runs to read, nothing else), resource limits, and a death tied
to its parent's. A kernel without one of the first two is named once in the log, and the others still hold.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# How a limit below, or a full disk, is met
EXHAUSTED = frozenset({errno.ENOMEM, errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EMFILE})

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl  # bound here: looking it up between fork and exec would not be safe
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent's thread that started this process ends; die now if it has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def close_all_but(*keep: int) -> None:
    """Close every inherited descriptor above standard error except `keep`."""
    last = 2
    for descriptor in sorted(keep):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, 1 << 16)


def limit(*, memory_bytes: int, cpu_seconds: int, file_bytes: int, open_files: int = 256) -> None:
    """Set the resource limits of this process and of each it starts. Memory is address space; CPU counts all threads."""
    wanted = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        # SIGXCPU at the soft limit; SIGKILL for one that caught it
        resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 2),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        # a core file would hold the customer's media, and take its size in disk
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (open_files, open_files),
    }
    for which, (soft, hard) in wanted.items():
        _, already = resource.getrlimit(which)
        most = hard if already == resource.RLIM_INFINITY else min(hard, already)  # what the host allows can only shrink
        resource.setrlimit(which, (min(soft, most), most))


# --- seccomp ---------------------------------------------------------------------------------------------------------

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# System calls refused with EPERM, by machine. A compromised decoder gets no socket of any family (AF_UNIX would reach a
# database's), no look into other processes, no new kernel surface, and no way out of the group that kill() kills.
_REFUSED = {
    "x86_64": {
        "socket": 41,
        "socketpair": 53,
        "connect": 42,
        "setpgid": 109,
        "setsid": 112,
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "pidfd_getfd": 438,
        "kcmp": 312,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "unshare": 272,
        "setns": 308,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "open_by_handle_at": 304,
        "open_tree": 428,
        "fsopen": 430,
    },
    "aarch64": {
        "socket": 198,
        "socketpair": 199,
        "connect": 203,
        "setpgid": 154,
        "setsid": 157,
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "pidfd_getfd": 438,
        "kcmp": 272,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "unshare": 97,
        "setns": 268,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "open_by_handle_at": 265,
        "open_tree": 428,
        "fsopen": 430,
    },
}
_SECCOMP_SYSCALL = {"x86_64": 317, "aarch64": 277}
_X32_BIT = 0x40000000  # the x32 ABI of x86_64 numbers the same calls from here

# classic BPF: struct sock_filter { u16 code; u8 jt, jf; u32 k }
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4  # in struct seccomp_data
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM = 1


def program(machine: str) -> bytes:
    """The seccomp filter for a machine, as an array of `sock_filter`. Raises KeyError for a machine we do not know."""
    numbers = sorted(_REFUSED[machine].values())
    code: list[tuple[int, int, int, int]] = [
        (_LOAD_WORD, 0, 0, _ARCH_AT),
        # another architecture's numbers mean other calls (int 0x80): no honest program here uses them
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, len(numbers) + 1, 0, _X32_BIT),
    ]
    for index, number in enumerate(numbers):
        code.append((_JUMP_EQUAL, len(numbers) - index, 0, number))
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse_calls() -> str | None:
    """Load the seccomp filter into every thread of this process. Returns why it could not, for the log, or None."""
    machine = platform.machine()
    if machine not in _REFUSED:
        return f"no seccomp filter for {machine}"
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    code = program(machine)
    argument = _Program(len(code) // 8, code)
    flags = ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC)
    if _syscall(_SECCOMP_SYSCALL[machine], _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(argument)) != 0:
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return None


# --- Landlock --------------------------------------------------------------------------------------------------------

# the same numbers on every machine
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
_RIGHTS_SINCE = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # every right to files, by the version that brought it
_SCOPES = 0b11  # since version 6: no abstract sockets and no signals to processes outside

# What Python, PyAV and FFmpeg read while they work: their own code, the C library's files, the clock's zones, fonts, CPU facts.
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/sys/devices/system/cpu")


def fence(room: Path, programs: Sequence[Path]) -> str | None:
    """Leave this thread (and what it starts) the room to write, code and `programs` to read. Returns why not, for the log, or None."""
    version = _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG))
    if version < 1:
        return f"landlock: {os.strerror(ctypes.get_errno())}"
    handled = 0
    for since, rights in _RIGHTS_SINCE.items():
        handled |= rights if version >= since else 0
    attributes = struct.pack("QQQ", handled, 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else (16 if version >= 4 else 8)
    ruleset = _syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        return f"landlock: {os.strerror(ctypes.get_errno())}"
    try:
        run = _READ_FILE | _READ_DIR | _EXECUTE
        code = {Path(entry) for entry in sys.path if entry} - {Path(__file__).resolve().parents[2]}
        code |= {Path(__file__).resolve().parents[1], Path(sys.prefix), Path(sys.base_prefix), *map(Path, _SYSTEM), *programs}
        for path in code:
            if not room.is_relative_to(path):  # a path to import from that holds the room would open everything beside it
                _allow(ruleset, path, run & handled)
        _allow(ruleset, Path("/dev/null"), (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
        _allow(ruleset, Path("/dev/urandom"), _READ_FILE)
        _allow(ruleset, room, (_READ_FILE | _WRITE_FILE | _READ_DIR | _MAKE_REG | _REMOVE_FILE | _TRUNCATE) & handled)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0)) != 0:
            return f"landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return None


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Add one rule. A path that is not there needs none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= ~(_READ_DIR | _REMOVE_FILE | _MAKE_REG)
        beneath = struct.pack("=Qi", rights, descriptor)
        if _syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), beneath, ctypes.c_uint(0)) != 0:
            raise OSError(ctypes.get_errno(), f"landlock refuses the rule for {path}")
    finally:
        os.close(descriptor)
