"""What the rows share: where things are kept, how long the clips are, the peers, the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from bench.race import clips, ours, shown
from bench.race.clips import Clip
from bench.race.peers import Packages
from deployments.local.home import Home
from deployments.local.seaweed import Seaweed
from native.objects import keys
from native.objects.store import Store
from native.settings import Settings


@dataclass
class Objects:
    """The bench's own S3 store, SeaweedFS as `nve up` starts it, with the sources in it that were put there once."""

    home: Home
    store: Store

    @property
    def environment(self) -> Mapping[str, str]:
        return self.home.environment()

    def put(self, path: Path) -> ours.Stored:
        """The file as an object, sent unless it is there."""
        bucket, key = self.environment["S3_MEDIA_BUCKET"], keys.source(path.stem)
        there = {it.key: it.size for it in self.store.list(bucket, key)}
        if there.get(key) != path.stat().st_size:
            self.store.delete(bucket, key)
            self.store.put_file(bucket, key, path, "video/mp4")
        return ours.Stored(bucket, key, path.stat().st_size)

    def address(self, stored: ours.Stored) -> str:
        """Where anybody can fetch it for an hour."""
        return self.store.presign_get(stored.bucket, stored.key, "source.mp4", 3600)


@dataclass
class World:
    """`quick`: smaller pictures and shorter clips, for seeing that everything works."""

    folder: Path
    quick: bool
    say: Callable[[str], None]
    objects: Objects
    packages: Packages = field(init=False)

    def __post_init__(self) -> None:
        self.packages = Packages(self.folder / "peers")

    @property
    def clips(self) -> Path:
        return self.folder / "clips"

    @property
    def size(self) -> str:
        return "1280x720" if self.quick else "1920x1080"

    def clip(self, clip: Clip) -> Path:
        """The clip's file, made if need be."""
        self.say(f"clip {clip.name} …")
        return clips.make(clip, self.clips)

    def period(self, clip: Clip) -> Fraction:
        """Seconds of one round when FFmpeg loops the clip: its sound is a little longer than its picture."""
        pair = clips.looped(self.clip(clip), 2, self.clips)
        return Fraction(round((shown.video_seconds(pair) - clip.seconds) * 90000), 90000)

    def long(self) -> Clip:
        """120 s of 1080p30 H.264 of 8.6 Mb/s, one key frame in 250: the clip of most rows."""
        seconds, video = 40 if self.quick else 120, clips.STEADY
        return Clip("long", seconds, video, self.size, fractal=True, noise=6)


@contextlib.contextmanager
def objects(folder: Path) -> Iterator[Objects]:
    """A store in `folder` for the time of the block."""
    from deployments.local import buckets, ports

    home = Home(folder)
    home.prepare(well_known=False)
    server = Seaweed(home)
    server.start()
    try:
        server.ready()
        environment = home.environment()
        buckets.set_up(environment)
        store = Store(Settings.model_validate({name.lower(): value for name, value in environment.items()}))
        yield Objects(home, store)
        store.close()
    finally:
        server.stop()
        ports.release(home.path, home.ports)
