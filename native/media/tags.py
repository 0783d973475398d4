"""What a track says of itself: language, title and what it is for."""

from __future__ import annotations

from typing import Any

from av.stream import Disposition

from native.media.info import Stream

# The flags that libavformat writes into each container, and finds in it again.
KEEPS: dict[str, frozenset[str]] = {
    "mp4": frozenset({"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired", "captions", "descriptions"}),
    "mov": frozenset({"default"}),
    "mkv": frozenset({"default", "dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired", "descriptions"}),
    "webm": frozenset({"default", "forced", "captions", "descriptions", "metadata"}),
    "ts": frozenset({"hearing_impaired", "visual_impaired", "clean_effects"}),
}
# Flags that say the same as another, or nothing that a player needs.
WORDLESS = {"default", "captions", "descriptions", "attached_pic", "still_image", "dependent", "timed_thumbnails"}


def name(stream: Any, facts: Stream, container: str, warnings: list[str]) -> None:
    """Gives a stream of the output the words of one of a source."""
    if facts.language:
        stream.metadata["language"] = facts.language
    if facts.title:
        stream.metadata["title"] = facts.title
    flags = Disposition(0)
    for word in facts.disposition:
        flags |= Disposition[word]
    stream.disposition = flags
    lost = sorted(set(facts.disposition) - KEEPS[container] - WORDLESS)
    if facts.title and container == "ts":
        lost.append("its title")
    if lost:
        warnings.append(f"{container.upper()} does not keep what a {facts.kind} track says of itself: {', '.join(lost)}.")
