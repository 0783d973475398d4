"""Which demuxer may read a source: decided here from its first bytes, never by libavformat's own guessing.

A playlist, a script or a picture named `.mp4` would otherwise make libavformat open other files or addresses. Only the formats in the
table are ever opened, each by name, with every other format, every protocol and every codec outside the list refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import av
import av.container
import av.error

from native import errors
from native.media.source import Blocks

MAX_STREAMS = 64
MAX_PIXELS = 33_177_600
_MIB = 1 << 20

# Codecs that the engine decodes or carries. Decoders outside this list are never run.
_CODECS = """
h264 hevc libdav1d av1 vp8 vp9 mpeg4 mpeg2video mpeg1video mjpeg prores dvvideo dnxhd ffv1 msmpeg4v1 msmpeg4 msmpeg4v2 msmpeg4v3 wmv1 wmv2
wmv3 vc1 h263 h263p flv theora rawvideo v210 huffyuv ffvhuff utvideo svq1 svq3 cinepak rpza qtrle cfhd vp6 vp6f hap png
aac aac_latm mp1 mp1float mp2 mp2float mp3 mp3float ac3 eac3 dca truehd mlp opus libopus vorbis flac alac amrnb amrwb wmav1 wmav2 wmapro
wmalossless adpcm_ima_qt adpcm_ima_wav adpcm_ms gsm gsm_ms qdm2 nellymoser speex pcm_alaw pcm_mulaw pcm_bluray pcm_dvd pcm_u8 pcm_s8
pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_s64le pcm_f32le pcm_f32be pcm_f64le pcm_f64be
mov_text subrip srt ass ssa webvtt pgssub dvdsub dvbsub text
"""
CODECS = frozenset(_CODECS.split())


@dataclass(frozen=True)
class Format:
    """A container as we call it and the libavformat demuxer that reads it."""

    name: str
    demuxer: str


MP4 = Format("mp4", "mov")
MOV = Format("mov", "mov")
MATROSKA = Format("mkv", "matroska")
WEBM = Format("webm", "matroska")
MPEGTS = Format("ts", "mpegts")
MPEG = Format("mpg", "mpeg")
AVI = Format("avi", "avi")
FLV = Format("flv", "flv")
ASF = Format("wmv", "asf")
OGG = Format("ogg", "ogg")
MP3 = Format("mp3", "mp3")
WAV = Format("wav", "wav")
FLAC = Format("flac", "flac")
AAC = Format("aac", "aac")

_MOV_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def sniff(head: bytes) -> Format:
    """The format of a source by its first bytes. Raises SOURCE_UNSUPPORTED for every other kind."""
    if head[4:8] in _MOV_BOXES:
        return MOV if head[8:12] == b"qt  " or head[4:8] in (b"moov", b"wide", b"pnot", b"mdat") else MP4
    if head[:4] == b"\x1aE\xdf\xa3":
        return WEBM if b"webm" in head[:64] else MATROSKA
    for size, lead in ((188, 0), (192, 4)):
        # A transport stream has a sync byte in every packet; one byte alone would match text that starts with G.
        if len(head) > lead + 2 * size and all(head[i] == 0x47 for i in range(lead, min(len(head), 8 * size), size)):
            return MPEGTS
    by_magic = (
        (b"\0\0\1\xba", MPEG),
        (b"FLV\1", FLV),
        (b"0&\xb2u\x8ef\xcf\x11", ASF),
        (b"OggS", OGG),
        (b"fLaC", FLAC),
        (b"ID3", MP3),
    )
    for magic, kind in by_magic:
        if head.startswith(magic):
            return kind
    if head[:4] in (b"RIFF", b"RF64"):
        if head[8:12] == b"AVI ":
            return AVI
        if head[8:12] == b"WAVE":
            return WAV
    if len(head) > 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # layer 0 is ADTS, the others are MPEG audio; 0xFF 0xFE and 0xFF 0xFF are text and noise
        if head[1] & 0xF6 == 0xF0:
            return AAC
        if head[1] & 0x06 and head[2] & 0xF0 != 0xF0 and head[1] not in (0xFE, 0xFF):
            return MP3
    raise errors.SOURCE_UNSUPPORTED()


def format_of(blocks: Blocks) -> Format:
    """The format of a source. Raises SOURCE_EMPTY or SOURCE_UNSUPPORTED."""
    if not blocks.size:
        raise errors.SOURCE_EMPTY()
    return sniff(blocks.read(0, 8 * 192))


def check_size(blocks: Blocks, kind: Format) -> None:
    """Raises SOURCE_TRUNCATED when the container says that it is longer than the source."""
    head = blocks.read(0, 64)
    declared = 0
    if kind.demuxer == "avi":
        declared = int.from_bytes(head[4:8], "little") + 8
    elif kind.demuxer == "matroska":
        declared = _segment_end(head)
    if declared > blocks.size:
        raise errors.SOURCE_TRUNCATED()


def _segment_end(head: bytes) -> int:
    """Where a Matroska segment says it ends; 0 when it does not say (a live recording)."""

    def number(at: int) -> tuple[int, int, bool]:
        width = 9 - head[at].bit_length()
        value = int.from_bytes(head[at : at + width], "big") & ((1 << (7 * width)) - 1)
        return value, at + width, value == (1 << (7 * width)) - 1

    try:
        size, at, _ = number(4)
        at += size
        if head[at : at + 4] != b"\x18S\x80g":
            return 0
        size, at, unknown = number(at + 4)
        return 0 if unknown else at + size
    except IndexError:
        return 0


def open_(blocks: Blocks, kind: Format, **extra: str) -> av.container.InputContainer:
    """The source opened by its own demuxer and nothing else. Raises SOURCE_UNREADABLE."""
    options = {
        "format_whitelist": _whitelisted(kind),
        "codec_whitelist": ",".join(sorted(CODECS)),
        "protocol_whitelist": "none",  # the bytes come from us; nothing inside the file may name another source
        "max_streams": str(MAX_STREAMS),
        "probesize": str(5 * _MIB),  # enough for AV1 in Matroska, whose first seek fails with less
        **extra,
    }
    try:
        return av.open(
            blocks.file(),
            "r",
            format=kind.demuxer,
            container_options=options,
            stream_options=None,
            buffer_size=256 << 10,
            metadata_errors="replace",
            io_open=_refuse,
        )
    except (av.error.FFmpegError, ValueError, OSError, struct.error) as exc:
        raise errors.SOURCE_UNREADABLE() from exc


def _whitelisted(kind: Format) -> str:
    return {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(kind.demuxer, kind.demuxer)


def _refuse(*_: object) -> None:
    raise PermissionError("a source may not open another one")
