"""What a result is called when its owner downloads it, and what kind of file it is."""

from __future__ import annotations

import re
from typing import Any

CONTENT_TYPES = {"mp4": "video/mp4", "mov": "video/quicktime", "mkv": "video/x-matroska", "webm": "video/webm", "ts": "video/mp2t"}

# No file system and no header likes these; everything else is the user's own affair.
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\<>:\"|?*\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# What file systems take, less room for an ending and for a browser's " (1)".
MAX_BYTES = 240


def of_result(request: dict[str, Any], container: str) -> str:
    """The name asked for, fit to be a file's, with the container's ending."""
    wanted = (request.get("output") or {}).get("name") or "result"
    name = _UNFIT.sub("_", wanted).encode()[:MAX_BYTES].decode(errors="ignore").strip(" .") or "result"
    return name if name.lower().endswith(f".{container}") else f"{name}.{container}"
