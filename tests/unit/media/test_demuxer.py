"""The first bytes decide what may be read, and only real media pass."""

from __future__ import annotations

import pytest

from native import errors
from native.media import demuxer
from native.media.source import Blocks


class Bytes:
    """Bytes as a source."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@pytest.mark.parametrize(
    "data",
    [
        b"Hello, I am a text named .mp4\n" * 20,
        b"<!DOCTYPE html><html></html>",
        b"PK\x03\x04" + bytes(100),
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"#EXTM3U\r\n#EXT-X-KEY:METHOD=AES-128,URI=http://127.0.0.1/\r\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b'<?xml version="1.0"?><MPD></MPD>',
        b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
        b"GIF89a" + bytes(100),
        b"%PDF-1.7\n",
        b"\x7fELF" + bytes(100),
        b"\xff\xfeh\0t\0t\0p\0",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"G is a letter",
        b"G" * 10,
        bytes(1000),
        b"\xff" * 1000,
        b"x",
    ],
)
def test_what_is_not_media_is_refused(data: bytes) -> None:
    """Texts, pictures, archives and playlists are refused by their bytes, whatever their name."""
    with pytest.raises(errors.Problem) as caught:
        demuxer.format_of(Blocks(Bytes(data)))
    assert caught.value.kind is errors.SOURCE_UNSUPPORTED


def test_an_empty_source_says_so() -> None:
    """Nothing is not even the wrong thing."""
    with pytest.raises(errors.Problem) as caught:
        demuxer.format_of(Blocks(Bytes(b"")))
    assert caught.value.kind is errors.SOURCE_EMPTY


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x20ftypisom" + bytes(20), "mp4"),
        (b"\0\0\0\x14ftypqt  " + bytes(20), "mov"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "webm"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "mkv"),
        ((b"\x47" + bytes(187)) * 8, "ts"),
        ((bytes(4) + b"\x47" + bytes(187)) * 8, "ts"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"FLV\1\5", "flv"),
        (b"OggS" + bytes(30), "ogg"),
        (b"\0\0\1\xba" + bytes(30), "mpg"),
    ],
)
def test_media_are_known_by_their_first_bytes(data: bytes, name: str) -> None:
    """Each container is recognised and has one demuxer."""
    assert demuxer.format_of(Blocks(Bytes(data))).name == name


def test_a_playlist_behind_a_real_header_opens_nothing_else() -> None:
    """Bytes after a magic number that make no sense to its demuxer are unreadable, not guessed at again."""
    data = b"\x1aE\xdf\xa3" + b"#EXTM3U\nfile:///etc/passwd\n" * 10
    blocks = Blocks(Bytes(data))
    with pytest.raises(errors.Problem) as caught:
        demuxer.open_(blocks, demuxer.format_of(blocks))
    assert caught.value.kind is errors.SOURCE_UNREADABLE
