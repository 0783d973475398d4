"""Bits of NAL units: emulation prevention and Exp-Golomb codes (ITU-T H.264, 7.3.1, 7.4.1 and 9.1)."""

from __future__ import annotations

LONGEST_CODE = 32  # leading zeros of the longest Exp-Golomb code that any field may have


class Unsupported(Exception):
    """The stream uses something that the rewriting does not know. The text is the reason, in plain words."""


class Short(Unsupported):
    """The bits end before what is read does."""

    def __init__(self) -> None:
        super().__init__("a header is longer than its unit")


def unescape(data: bytes) -> bytes:
    """Without emulation prevention bytes."""
    return data.replace(b"\0\0\3", b"\0\0")


def escape(data: bytes) -> bytes:
    """With emulation prevention bytes, also after the zeros that may end a payload."""
    parts, start, at = [], 0, data.find(b"\0\0")
    while at >= 0:
        end = at + 2
        if end == len(data) or data[end] <= 3:
            parts += (data[start:end], b"\3")
            start = end
        at = data.find(b"\0\0", end)
    parts.append(data[start:])
    return b"".join(parts)


def trimmed(unit: bytes) -> bytes:
    """A unit without what does not belong to it: zeros behind it, or a start code and more, which some writers leave in their packets."""
    end = unit.find(b"\0\0\1")
    return (unit if end < 0 else unit[:end]).rstrip(b"\0")


class Reader:
    """Bits from the front. What is read is kept as text of zeros and ones, in which the codes are found quickest."""

    def __init__(self, data: bytes) -> None:
        self._text = format(int.from_bytes(data, "big"), f"0{8 * len(data)}b") if data else ""
        self.at = 0

    def u(self, width: int) -> int:
        start, self.at = self.at, self.at + width
        if self.at > len(self._text):
            raise Short
        return int(self._text[start : self.at], 2) if width else 0

    def flag(self) -> bool:
        return self.u(1) == 1

    def ue(self, most: int = (1 << LONGEST_CODE) - 2) -> int:
        """An unsigned code. Raises Unsupported when it is larger than the standard allows."""
        one = self._text.find("1", self.at, self.at + LONGEST_CODE + 1)
        if one < 0:
            raise Short if len(self._text) - self.at <= LONGEST_CODE else Unsupported("a number in a header is too large")
        width = one - self.at + 1
        self.at = one
        value = self.u(width) - 1
        if value > most:
            raise Unsupported("a number in a header is too large")
        return value

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def since(self, start: int) -> str:
        """The bits read from position `start` on."""
        return self._text[start : self.at]

    def rest(self) -> str:
        """The bits left before the stop bit. Raises Unsupported when there is none."""
        stop = self._text.rfind("1")
        if stop < self.at:
            raise Short
        return self._text[self.at : stop]


class Writer:
    """Bits to the back."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def u(self, width: int, value: int) -> None:
        text = format(value, f"0{width}b") if width else ""
        assert len(text) == width  # a field too narrow for its value would damage all that follows
        self._parts.append(text)

    def flag(self, value: bool) -> None:
        self._parts.append("1" if value else "0")

    def ue(self, value: int) -> None:
        text = format(value + 1, "b")
        self._parts.append("0" * (len(text) - 1) + text)

    def se(self, value: int) -> None:
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def text(self, bits: str) -> None:
        """Bits that were read elsewhere."""
        self._parts.append(bits)

    def bits(self) -> str:
        return "".join(self._parts)


def packed(bits: str, fill: str = "0") -> bytes:
    """The bits as bytes, the last one filled up."""
    bits += fill * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""
