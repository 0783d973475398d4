"""The seccomp program as data: what it answers, followed step by step, on each machine we know."""

from __future__ import annotations

import struct

import pytest

from native.media import sandbox

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000
READ = {"x86_64": 0, "aarch64": 63}


def answer(machine: str, number: int, arch: int) -> int:
    """Run the program on one system call."""
    code = [struct.unpack_from("HBBI", sandbox.program(machine), at) for at in range(0, len(sandbox.program(machine)), 8)]
    memory, accumulator, at = {0: number, 4: arch}, 0, 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x20:
            accumulator = memory[k]
        elif operation == 0x15:
            at += yes if accumulator == k else no
        elif operation == 0x35:
            at += yes if accumulator >= k else no
        elif operation == 0x06:
            return k


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_refused_call_is_refused(machine: str) -> None:
    """Each call of the table gets EPERM, the others go on, another architecture's are the end of the process."""
    arch = sandbox._AUDIT_ARCH[machine]
    for number in sandbox._REFUSED[machine].values():
        assert answer(machine, number, arch) == EPERM
    assert answer(machine, READ[machine], arch) == ALLOW
    assert answer(machine, 0x40000000 | 41, arch) == EPERM
    assert answer(machine, 41, 0x40000003) == KILL


def test_both_machines_refuse_the_same() -> None:
    """The two tables name the same calls."""
    assert sandbox._REFUSED["x86_64"].keys() == sandbox._REFUSED["aarch64"].keys()


def test_an_unknown_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a table the filter says so instead of failing."""
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    assert sandbox.refuse_calls() == "no seccomp filter for riscv64"
