"""What a browser should call a download: the user's own name for it, made harmless (RFC 6266, RFC 5987)."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

# Characters; three bytes each in UTF-8 and nine once quoted stay below the 4 KiB some servers allow a URL.
LONGEST = 120


def attachment(filename: str) -> str:
    """A Content-Disposition that saves the file under this name and never shows it in the page's own origin."""
    name = _harmless(filename)
    ascii_name = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"


def _harmless(filename: str) -> str:
    """No folders, no control or invisible characters (line ends split headers, U+202E turns the extension round)."""
    seen = unicodedata.normalize("NFC", filename).replace("/", "_").replace("\\", "_")
    seen = "".join(c for c in seen if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}).strip(" .")
    if len(seen) > LONGEST:
        stem, dot, extension = seen.rpartition(".")
        # An extension is short; a long last part is no extension.
        seen = stem[: LONGEST - len(extension) - 1] + dot + extension if dot and len(extension) <= 10 else seen[:LONGEST]
    return seen or "download"
