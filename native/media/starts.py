"""What kind of start a key packet is, told by what is in it and not by the container's flag."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from native.media import nal, obu


class Kind(Enum):
    NONE = 0  # pictures after it may refer to pictures before it
    OPEN = 1  # only those of them may that are shown before it: its leading pictures
    CLOSED = 2  # none may


def kind(codec: str, data: bytes, width: int) -> Kind:
    """The kind of a packet. `width`: bytes of the length before each NAL unit, 0 for start codes."""
    look = _LOOKS.get(codec)
    return look(data, width) if look is not None else Kind.NONE


def _h264(data: bytes, width: int) -> Kind:
    slices = [u[0] & 31 for u in _units(data, width) if u[0] & 31 in (nal.SLICE, 2, nal.IDR)]
    return Kind.CLOSED if slices and all(kind == nal.IDR for kind in slices) else Kind.NONE


def _hevc(data: bytes, width: int) -> Kind:
    """ITU-T H.265, table 7-1: IDR is 19 and 20, a BLA without leading pictures 18, CRA 21."""
    kinds = {(u[0] >> 1) & 63 for u in _units(data, width) if u[0] < 64 and not u[0] & 1 and not u[1] >> 3}
    if len(kinds) != 1:
        return Kind.NONE
    return {18: Kind.CLOSED, 19: Kind.CLOSED, 20: Kind.CLOSED, 21: Kind.OPEN}.get(kinds.pop(), Kind.NONE)


def _units(data: bytes, width: int) -> list[bytes]:
    try:
        units = nal.prefixed(data, width) if width else nal.annexb(data)
    except nal.Broken:
        return []
    return [unit for unit in units if len(unit) > 2]


def _mpeg2(data: bytes, width: int) -> Kind:
    """ISO/IEC 13818-2, 6.2.2: a sequence header, a group that says whether it is closed, and an I picture."""
    del width
    sequence, picture = data.find(b"\0\0\1\xb3"), data.find(b"\0\0\1\0")
    if not 0 <= sequence < picture or len(data) < picture + 6 or (data[picture + 5] >> 3) & 7 != 1:
        return Kind.NONE
    group = data.find(b"\0\0\1\xb8", sequence, picture)
    return Kind.CLOSED if group >= 0 and data[group + 7] & 0x40 else Kind.OPEN


def _mpeg4(data: bytes, width: int) -> Kind:
    """ISO/IEC 14496-2, 6.2.4 and 6.2.5: an I-VOP, perhaps in a group that says that it is closed."""
    del width
    vop = data.find(b"\0\0\1\xb6")
    if vop < 0 or len(data) < vop + 5 or data[vop + 4] >> 6 or data.find(b"\0\0\1\xb6", vop + 4) >= 0:
        return Kind.NONE
    group = data.find(b"\0\0\1\xb3", 0, vop)
    return Kind.CLOSED if group >= 0 and data[group + 6] & 0x20 else Kind.OPEN


def _vp8(data: bytes, width: int) -> Kind:
    """RFC 6386, 9.1."""
    del width
    return Kind.CLOSED if data and not data[0] & 1 else Kind.NONE


def _vp9(data: bytes, width: int) -> Kind:
    """VP9 bitstream specification, 6.2: frame marker, profile, a frame that is new and a key frame and shown."""
    del width
    if not data or data[0] >> 6 != 2:
        return Kind.NONE
    # in profile 3 one reserved bit lies before them
    flags = data[0] >> 1 if data[0] & 0x30 != 0x30 else data[0]
    new, key, shown = not flags & 4, not flags & 2, bool(flags & 1)
    return Kind.CLOSED if new and key and shown else Kind.NONE


def _av1(data: bytes, width: int) -> Kind:
    del width
    return Kind.CLOSED if obu.shown_key_frame(data) else Kind.NONE


def _flagged(data: bytes, width: int) -> Kind:
    del data, width
    return Kind.CLOSED


_LOOKS: dict[str, Callable[[bytes, int], Kind]] = {
    "h264": _h264, "hevc": _hevc, "mpeg2video": _mpeg2, "mpeg1video": _mpeg2, "mpeg4": _mpeg4, "vp8": _vp8, "vp9": _vp9, "av1": _av1,
    # they have no frames that refer to later ones
    **dict.fromkeys(("h263", "flv1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "theora", "ffv1"), _flagged),
}  # fmt: skip
