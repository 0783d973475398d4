"""Files that are not what they say: whatever they point at is neither read nor asked for, and the job ends with the right code."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from native import errors
from native.media import process, session
from native.media.edit import Edit
from native.media.source import FileSource

SECRET = b"canary-4f1d8a"
SAID_BY_MEDIA = {kind.code for kind in errors.BY_CODE.values() if kind.status == 422}


class Canary:
    """A web server on the loopback that remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        canary = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(SECRET)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    it = Canary()
    yield it
    it.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest clip: 2 s, H.264 and AAC, its index first."""
    folder = tmp_path_factory.mktemp("good")
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=30:d=2", "-f", "lavfi", "-i", "sine=f=440:d=2"]
    options = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-c:a", "aac", "-movflags", "+faststart"]
    process.ffmpeg(["-nostdin", "-loglevel", "error", *inputs, *options, "good.mp4"], folder)
    return folder / "good.mp4"


def hls(target: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n".encode()


def avi_with_playlist(target: str) -> bytes:
    """An AVI whose GAB2 subtitle stream is a playlist (the CVE-2017-9993 shape)."""
    gab2 = b"GAB2\0\x02\0" + struct.pack("<I", 0) + b"\x04\0" + struct.pack("<I", len(hls(target))) + hls(target)
    strh = b"strh" + struct.pack("<I", 56) + b"txts" + bytes(52)
    strf = b"strf" + struct.pack("<I", 0)
    strl = b"LIST" + struct.pack("<I", 4 + len(strh) + len(strf)) + b"strl" + strh + strf
    avih = b"avih" + struct.pack("<I", 56) + struct.pack("<14I", 33333, 0, 0, 16, 1, 0, 1, 0, 64, 64, 0, 0, 0, 0)
    hdrl = b"LIST" + struct.pack("<I", 4 + len(avih) + len(strl)) + b"hdrl" + avih + strl
    chunk = b"00tx" + struct.pack("<I", len(gab2)) + gab2 + (b"\0" if len(gab2) % 2 else b"")
    movi = b"LIST" + struct.pack("<I", 4 + len(chunk)) + b"movi" + chunk
    return b"RIFF" + struct.pack("<I", 4 + len(hdrl) + len(movi)) + b"AVI " + hdrl + movi


# each makes the attack from a file that holds the secret and an address where the canary sits
ATTACKS: dict[str, Callable[[Path, str], bytes]] = {
    "hls to a file": lambda file, url: hls(f"file://{file}"),
    "hls to a path": lambda file, url: hls(str(file)),
    "hls to http": lambda file, url: hls(f"{url}/segment.ts"),
    "hls with a key": lambda file, url: f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"\n#EXTINF:1,\nin0\n#EXT-X-ENDLIST\n'.encode(),
    "hls to a playlist": lambda file, url: b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + f"{url}/child.m3u8".encode() + b"\n",
    "hls to itself": lambda file, url: hls("in0"),
    "hls through concat": lambda file, url: hls(f"concat:{file}|{url}/x"),
    "hls through subfile": lambda file, url: hls(f"subfile,,start,0,end,64,,:{file}"),
    "ffconcat absolute": lambda file, url: f"ffconcat version 1.0\nfile '{file}'\n".encode(),
    "ffconcat relative": lambda file, url: b"ffconcat version 1.0\nfile in1\nfile ../secret\n",
    "ffconcat http": lambda file, url: f"ffconcat version 1.0\nfile {url}/clip.mp4\n".encode(),
    "dash": lambda file, url: (
        f'<?xml version="1.0"?><MPD><BaseURL>{url}/</BaseURL><Period><AdaptationSet><Representation id="1" bandwidth="1">'
        '<SegmentList><SegmentURL media="x"/></SegmentList></Representation></AdaptationSet></Period></MPD>'
    ).encode(),
    "sdp": lambda file, url: b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
    "svg": lambda file, url: (
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}/x.png"/><image href="file://{file}"/></svg>'.encode()
    ),
    "xbin": lambda file, url: b"XBIN\x1a" + struct.pack("<HHBB", 80, 25, 16, 0) + SECRET * 20,
    "tty": lambda file, url: b"\x1b[2J" + b"text " * 200,
    "html": lambda file, url: f"<html><img src={url}/x></html>".encode(),
    "zip": lambda file, url: b"PK\x03\x04" + bytes(400),
    "elf": lambda file, url: b"\x7fELF" + bytes(400),
    "one byte": lambda file, url: b"\0",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the secret, and a room in it."""
    (tmp_path / "room").mkdir()
    (tmp_path / "secret").write_bytes(SECRET * 100)
    return tmp_path


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the code of the problem it ends with, which must be the media's fault."""
    try:
        return call()
    except errors.Problem as problem:
        return problem.code if problem.kind.status == 422 else problem.kind


def refused(place: Path, *files: Path) -> str:
    """The code with which a job on these files ends, whether or not they are probed first. Nothing of the secret is in the room."""
    whole = Edit.model_validate({"segments": [{"source": n} for n in range(len(files))]})
    encoded = whole.model_copy(update={"mode": "encode"})
    with session.open([FileSource(file) for file in files], place / "room") as media:
        codes = {outcome(media.probe), outcome(lambda: media.render(whole)), outcome(lambda: media.render(encoded))}
    assert all(SECRET not in entry.read_bytes() for entry in (place / "room").iterdir())
    assert len(codes) == 1
    return codes.pop()


@pytest.mark.parametrize("name", ATTACKS)
def test_playlists_and_strangers(name: str, place: Path, canary: Canary) -> None:
    """A file that is no media file, or points elsewhere, is refused by its first bytes; nothing it points at is opened."""
    file = place / "clip.mp4"
    file.write_bytes(ATTACKS[name](place / "secret", canary.url))
    assert refused(place, file) == "source_unsupported"
    assert canary.asked == []


@pytest.mark.parametrize("where", ["file", "http"])
def test_playlist_inside_avi(where: str, place: Path, canary: Canary) -> None:
    """A playlist that hides in an AVI's subtitles is never followed."""
    file = place / "clip.mp4"
    file.write_bytes(avi_with_playlist(f"{canary.url}/x.ts" if where == "http" else f"file://{place / 'secret'}"))
    assert refused(place, file) in {"source_unsupported", "source_unreadable"}
    assert canary.asked == []


def test_one_hostile_among_good(place: Path, good: Path, canary: Canary) -> None:
    """A merge with one hostile member is refused as a whole, never made without it."""
    file = place / "clip.mp4"
    file.write_bytes(hls(f"{canary.url}/x.ts"))
    assert refused(place, good, file, good) == "source_unsupported"
    assert canary.asked == []


def test_data_reference_to_another_file(place: Path, good: Path) -> None:
    """A MOV that says its media lie in another file does not get that file."""
    data = bytearray(good.read_bytes())
    at = data.find(b"url \0\0\0\x01")
    assert at > 0
    while at > 0:
        data[at : at + 8] = b"alis\0\0\0\0"
        at = data.find(b"url \0\0\0\x01")
    file = place / "clip.mov"
    file.write_bytes(data)
    cut = Edit.model_validate({"segments": [{"source": 0, "end": "1"}], "mode": "encode"})
    with session.open([FileSource(file)], place / "room") as media:
        made = outcome(lambda: media.render(cut))
    assert made in SAID_BY_MEDIA or made.frames == 30
    assert all(SECRET not in entry.read_bytes() for entry in (place / "room").iterdir())


@pytest.mark.parametrize("keep", [0.1, 0.7, 0.95])
def test_truncated(keep: float, place: Path, good: Path) -> None:
    """A clip that ends too soon is named so, never cut into a short success."""
    data = good.read_bytes()
    file = place / "clip.mp4"
    file.write_bytes(data[: int(len(data) * keep)])
    assert refused(place, file) == "source_truncated"


def test_empty(place: Path) -> None:
    """An empty file is named so."""
    (place / "clip.mp4").touch()
    assert refused(place, place / "clip.mp4") == "source_empty"


def test_polyglot_plays_as_what_it_is(place: Path, good: Path, canary: Canary) -> None:
    """A good MP4 with HTML and a playlist behind it is that MP4 and nothing more, or it is refused."""
    file = place / "clip.mp4"
    file.write_bytes(
        good.read_bytes() + b"\0\0\x01\0free" + f"<script src={canary.url}/x></script>\n".encode() + hls(f"{canary.url}/y.ts") + bytes(256)
    )
    with session.open([FileSource(file)], place / "room") as media:
        made = outcome(lambda: media.render(Edit.model_validate({"segments": [{"source": 0}]})))
    assert made in SAID_BY_MEDIA or made.frames == 60
    assert canary.asked == []
