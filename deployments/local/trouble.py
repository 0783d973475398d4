"""What stops the local stack, said in one sentence that tells the user how to mend it."""

from __future__ import annotations


class Trouble(Exception):
    """The local stack cannot start, or cannot go on. The text is for the user, whole as it is."""
