"""The one sequence parameter set of an output, chosen so that it serves all of its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from native.media.h264.bits import Unsupported, Writer
from native.media.h264.sets import BASELINE, Restriction, Sps, Vui

_RANKS = (66, 77, 100, 110, 122, 244)  # each of these profiles decodes what the ones before it do
_SILENT = "0" * 8  # the head of a VUI that says nothing
_LONGEST_VECTOR = 16  # log2 of quarter samples, which is what is assumed when nothing is said


def choose(found: Sequence[Sps]) -> Sps:
    """The set for slices of all these, as near as can be to the first of them. Raises Unsupported with what they differ in."""
    first = found[0]
    for other in found[1:]:
        if reason := _difference(first, other):
            raise Unsupported(f"the sources have different {reason}")
    if any(s.poc_type == 1 for s in found) and len(set(found)) > 1:
        raise Unsupported("its pictures are ordered in cycles (picture order count type 1)")
    profile = first.profile
    if any(s.profile != profile for s in found):
        if not all(s.profile in _RANKS for s in found):
            raise Unsupported("the sources have different H.264 profiles")
        profile = max((s.profile for s in found), key=_RANKS.index)
    constraints = first.constraints
    for s in found:
        constraints &= s.constraints
    references = max(s.references for s in found)
    return replace(
        first,
        profile=profile,
        constraints=constraints,
        level=max(s.level for s in found),
        frame_num_bits=max(s.frame_num_bits for s in found),
        poc_type=min(s.poc_type for s in found),
        poc_bits=max(s.poc_bits for s in found),
        references=references,
        gaps=any(s.gaps for s in found),
        direct_8x8=next((s.direct_8x8 for s in found if s.profile != BASELINE), first.direct_8x8),
        vui=_vui(found, references),
    )


def _difference(a: Sps, b: Sps) -> str | None:
    """What keeps the slices of one set from being coded under the other."""
    checks = (
        # first: the rows of a size count twice where there are fields
        ("scan types", (a.frames_only, a.adaptive_fields) == (b.frames_only, b.adaptive_fields)),
        ("frame sizes", a.macroblocks == b.macroblocks and a.crop == b.crop),
        ("pixel formats", a.pixels == b.pixels),
        # without B slices it says nothing, and Baseline has none
        ("ways of direct prediction", a.direct_8x8 == b.direct_8x8 or BASELINE in (a.profile, b.profile)),
        ("scaling matrices", a.scaling == b.scaling),
        ("ways to be lossless", a.bypass == b.bypass),
    )
    return next((what for what, same in checks if not same), None)


def _vui(found: Sequence[Sps], references: int) -> Vui | None:
    """The first set's, with the deepest reordering of all: a decoder that reorders too little shows frames in the wrong order."""
    first = found[0].vui
    depths = [0 if s.profile == BASELINE and s.reorder is None else s.reorder for s in found]
    if len({s.vui for s in found}) == 1:
        return first
    known = [depth for depth in depths if depth is not None]
    if len(known) < len(depths):
        return replace(first, restriction=None) if first else None
    buffers = [s.vui.restriction.buffering for s in found if s.vui and s.vui.restriction]
    w = Writer()
    w.flag(True)
    for number in (0, 0, _LONGEST_VECTOR, _LONGEST_VECTOR):
        w.ue(number)
    return Vui(first.head if first else _SILENT, Restriction(w.bits(), max(known), max([*buffers, references, *known])))


def same_slices(a: Sps, b: Sps) -> bool:
    """Do slices mean the same under both sets?"""

    def plain(s: Sps) -> Sps:
        return replace(s, id=0, profile=0, constraints=0, level=0, vui=None, direct_8x8=s.direct_8x8 or BASELINE in (a.profile, b.profile))

    return plain(a) == plain(b)
