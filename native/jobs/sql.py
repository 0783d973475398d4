"""The statements of `queries.sql`, by name.

The file's grammar: a line `-- name --`, a line `-- one sentence --`, the statement, a blank line.
"""

from __future__ import annotations

import re
from pathlib import Path

_HEAD = re.compile(r"^-- (?P<name>\w+) --\n-- (?P<sentence>.+) --\n", re.MULTILINE)


def parse(text: str) -> dict[str, bytes]:
    """Statement by name. Raises ValueError for a name used twice or text that belongs to no name."""
    heads = list(_HEAD.finditer(text))
    if heads and any(not line.startswith("--") for line in text[: heads[0].start()].splitlines() if line.strip()):
        raise ValueError("queries: a statement stands before the first name")
    found: dict[str, bytes] = {}
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        name, statement = head["name"], text[head.end() : after.start() if after else None].strip()
        if name in found or not statement:
            raise ValueError(f"queries: {name} is there twice or empty")
        found[name] = statement.encode()
    return found


queries = parse(Path(__file__).with_name("queries.sql").read_text(encoding="utf-8"))
