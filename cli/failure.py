"""How a command ends when it does not succeed: one sentence, one exit code."""

from __future__ import annotations

from typing import Any

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


class Failure(Exception):
    """What was asked did not happen. `document` is what --json prints; without one it is made of the rest."""

    exit_code = FAILED

    def __init__(self, sentence: str, *, code: str = "failed", field: str | None = None, document: Any = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.document = document or {"error": {"code": code, "message": sentence} | ({"field": field} if field else {})}


class Usage(Failure):
    """The command line, or the request it makes, is wrong."""

    exit_code = USAGE

    def __init__(self, sentence: str, *, code: str = "usage", field: str | None = None, document: Any = None) -> None:
        super().__init__(sentence, code=code, field=field, document=document)


class Unreachable(Failure):
    """There is no server, or it does not answer."""

    exit_code = UNREACHABLE

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, code="unreachable")


class Interrupted(Failure):
    """Ctrl-C."""

    exit_code = INTERRUPTED

    def __init__(self, sentence: str, *, document: Any = None) -> None:
        super().__init__(sentence, code="interrupted", document=document)


def of(exc: Exception) -> Failure | None:
    """The failure an exception of another room stands for; None for a mistake of ours."""
    if isinstance(exc, Failure):
        return exc
    from deployments.local.trouble import Trouble
    from native.errors import Problem

    if isinstance(exc, Trouble):
        return Unreachable(str(exc))
    if isinstance(exc, Problem):
        kind = {400: Usage, 503: None}.get(exc.status, Failure)
        return kind(exc.detail, code=exc.code, field=exc.field) if kind else Unreachable(exc.detail)
    return None
