"""Trims whose middle is copied inside the store: bytes through the function, and what is left when it goes wrong."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import av
import httpx
import imageio_ffmpeg
import pytest

from native.jobs.database import Database
from native.jobs.keys import Keys
from native.objects.store import Store
from tests.function import Function
from tests.media import looking
from tests.services.objects.toxic import Hang, Network, Plan, Refuse, network

RATE = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and eight seconds at about 14 Mb/s: six seconds of noise, eighteen times over."""
    folder = tmp_path_factory.mktemp("large")
    ffmpeg, short, long = imageio_ffmpeg.get_ffmpeg_exe(), folder / "short.mp4", folder / "long.mp4"
    picture = f"testsrc2=s=1280x720:r={RATE}:d=6,noise=alls=60:allf=t"
    coded = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "14M",
        "-maxrate",
        "14M",
        "-bufsize",
        "14M",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ]
    make = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=d=6", *coded, "-shortest", str(short)]
    loop = [ffmpeg, "-v", "error", "-stream_loop", "17", "-i", str(short), "-c", "copy", "-movflags", "+faststart", str(long)]
    subprocess.run(make, check=True, timeout=120)
    subprocess.run(loop, check=True, timeout=60)
    return long


@pytest.fixture
def key(database_url):
    database = Database(database_url)
    yield Keys(database).create("me", "test")
    database.close()


@pytest.fixture
def world(environment, settings, key, clip, tmp_path):
    """`trim(body, **headers)` on a worker whose way to the store is a network that can misbehave, and the uploaded clip's id."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network(settings.s3_endpoint))
        near = stack.enter_context(Function("upload", environment, tmp_path / "upload.log"))
        trim = stack.enter_context(Function("trim", {**environment, "S3_ENDPOINT": net.url}, tmp_path / "trim.log"))
        headers = {"Authorization": f"Bearer {key}"}
        http = stack.enter_context(httpx.Client(headers=headers, timeout=120))
        offer = http.post(near.url, json={"name": "long.mp4", "size": clip.stat().st_size}).json()
        data = clip.read_bytes()
        for part in offer["parts"]:
            httpx.put(part["url"], content=data[part["offset"] : part["offset"] + part["size"]], timeout=60).raise_for_status()
        asset = http.post(f"{near.url}/{offer['asset']}/complete").json()
        assert asset["state"] == "ready"
        store = Store(settings)
        stack.callback(store.close)
        net.requests.clear()
        yield World(net, http, trim, offer["asset"], store, settings.s3_outputs_bucket)


class World:
    def __init__(self, net: Network, http: httpx.Client, function: Function, asset: str, store: Store, bucket: str) -> None:
        self.net, self.http, self.function, self.asset, self.store, self.bucket = net, http, function, asset, store, bucket

    def trim(self, start: str, end: str, plan: Plan | None = None) -> httpx.Response:
        self.net.plan = plan or (lambda method, path, before: None)
        return self.http.post(self.function.url, json={"source": self.asset, "start": start, "end": end})

    def left(self) -> list[str]:
        return [it.key for it in self.store.list(self.bucket, "out/")]


def wanted(clip: Path, start: float, end: float) -> int:
    """How many frames of a clip are shown in a range."""
    with av.open(str(clip)) as container:
        return sum(1 for frame in container.decode(video=0) if start <= frame.time < end)


def parts_of(net: Network) -> list[str]:
    return [path for method, path in net.requests if method == "PUT" and "partNumber=" in path]


def test_the_middle_stays_in_the_store(world, clip, tmp_path):
    """A hundred seconds, exact to the frame, of which a tenth or less went through the function; its digest is unknown, its size right."""
    answer = world.trim("4.5", "104.5")
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert result["sha256"] is None
    assert result["frames"] == wanted(clip, 4.5, 104.5)
    assert result["source_bytes_read"] <= result["size"] / 10
    out = tmp_path / "out.mp4"
    out.write_bytes(httpx.get(result["url"]).content)
    assert out.stat().st_size == result["size"]
    looking.strictly_decodes(out)
    assert len(looking.frames(out)) == result["frames"]


def test_a_store_that_does_not_copy_is_sent_the_bytes(world, tmp_path):
    """The same result, at the cost of the bytes."""
    refused: list[str] = []

    def plan(method, path, before):
        # the first request for a copied part is the copy
        if method == "PUT" and "partNumber=2" in path and not refused:
            refused.append(path)
            return Refuse(501, b"<Error><Code>NotImplemented</Code></Error>")
        return None

    answer = world.trim("4.5", "104.5", plan)
    assert answer.status_code == 200, answer.text
    assert refused
    result = answer.json()["result"]
    assert result["source_bytes_read"] > result["size"] / 2
    out = tmp_path / "out.mp4"
    out.write_bytes(httpx.get(result["url"]).content)
    looking.strictly_decodes(out)


def test_a_store_that_fails_half_way_keeps_nothing(world, key):
    """The attempt fails, and neither an object nor an upload is left."""

    def plan(method, path, before):
        return Refuse(503) if method == "PUT" and "partNumber=2" in path else None

    world.net.plan = plan
    body = {"source": world.asset, "start": "4.5", "end": "104.5"}
    with contextlib.suppress(httpx.TimeoutException):
        world.http.post(world.function.url, json=body, timeout=25)
    deadline = time.monotonic() + 30
    while not parts_of(world.net) or (list(world.store.uploads(world.bucket, "out/")) and time.monotonic() < deadline):
        time.sleep(0.2)  # the attempt is another process's
    assert world.left() == []
    assert list(world.store.uploads(world.bucket, "out/")) == []


def test_a_cancelled_job_leaves_nothing(world, environment, tmp_path):
    """Cancelled while the store copies: the job ends so, and neither an object nor an upload is left."""
    copying = threading.Event()

    def plan(method, path, before):
        if method == "PUT" and "partNumber=2" in path and before == 0:
            copying.set()
            return Hang(2.0)  # longer than a worker needs to hear of it
        return None

    world.net.plan = plan
    body = {"source": world.asset, "start": "4.5", "end": "104.5"}
    answers: list[httpx.Response] = []
    with Function("status", environment, tmp_path / "status.log") as status:
        asking = threading.Thread(target=lambda: answers.append(world.http.post(world.function.url, json=body)))
        asking.start()
        assert copying.wait(90)
        (job,) = world.http.get(status.url).json()["jobs"]
        world.http.delete(f"{status.url}/{job['id']}")
        asking.join(60)
        assert world.http.get(f"{status.url}/{job['id']}").json()["state"] == "cancelled"
    assert answers
    assert world.left() == []
    assert list(world.store.uploads(world.bucket, "out/")) == []
