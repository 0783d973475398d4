"""The main job, as strangers do it: bring clips, cut and join them, take the result away, and look at every frame."""

import json
import subprocess
import threading
import time

import pytest

from tests import frames


def same(made, source, first, count):
    """`made` shows frames first … first+count of `source`, each once, in order, at their own distance from the start."""
    assert len(made) == count
    for n, (time_, luma) in enumerate(made):
        assert time_ == pytest.approx(float(source[first + n][0] - source[first][0]), abs=0.0005)
        likeness = frames.psnr(luma, source[first + n][1])
        neighbours = [frames.psnr(luma, source[at][1]) for at in (first + n - 1, first + n + 1) if 0 <= at < len(source)]
        assert likeness > 33
        assert likeness > max(neighbours)


def test_trim_is_exact_to_the_frame(user, clip, tmp_path):
    """A trim at odd times gives exactly the frames with start ≤ time < end; copied ones are identical, bit for bit."""
    answer = user.post("trim", {"source": user.upload(clip), "start": "1.37", "end": "6.91"})
    document = answer.json()
    made, source = frames.shown(user.download(document, tmp_path / "made.mp4")), frames.shown(clip)

    assert answer.status_code == 200
    same(made, source, first=42, count=166)  # 1.4 s is frame 42, and 6.9 s is frame 207, the last before 6.91
    identical = sum(frames.psnr(luma, source[42 + n][1]) == float("inf") for n, (_, luma) in enumerate(made))
    result = document["result"]
    assert result["frames"] == result["copied_frames"] + result["encoded_frames"] + result["primed_frames"] == 166
    assert identical >= result["copied_frames"] > 100
    assert document["progress"]["percent"] == 100
    assert document["state"] == "succeeded"


def test_sound_stays_with_its_picture(user, clip, tmp_path):
    """The sound of a trim is the source's own at that place: same length as the picture, the tone where it was."""
    document = user.post("trim", {"source": user.upload(clip), "start": "2.5", "end": "5.5"}).json()
    samples, rate = frames.sound(user.download(document, tmp_path / "made.mp4"))
    source, _ = frames.sound(clip)

    assert len(samples) / rate == pytest.approx(3.0, abs=0.06)
    assert frames.pitch(samples, rate) == pytest.approx(frames.pitch(source[int(2.5 * rate) : int(5.5 * rate)], rate), rel=0.01)


def test_merge_of_clips_that_agree_copies_them(user, clip, tmp_path):
    """Two clips of one make are joined by copying: every frame of both, bit for bit."""
    asset = user.upload(clip)
    document = user.post("merge", {"sources": [asset, asset]}).json()
    made, source = frames.shown(user.download(document, tmp_path / "made.mp4")), frames.shown(clip)

    assert len(made) == 2 * len(source)
    assert all(frames.psnr(luma, source[n % len(source)][1]) == float("inf") for n, (_, luma) in enumerate(made))
    assert document["result"]["copied_frames"] == len(made)


def test_merge_of_clips_that_differ_keeps_pitch_and_length(user, clip, odd_clip, tmp_path):
    """Another size, rate, and sound: the parts keep their length and their pitch, and the warnings say what was changed."""
    document = user.post("merge", {"sources": [user.upload(clip), user.upload(odd_clip)]}).json()
    path = user.download(document, tmp_path / "made.mp4")
    samples, rate = frames.sound(path)

    assert document["result"]["duration"] == pytest.approx(8 + 3, abs=0.07)
    assert frames.pitch(samples[rate : 7 * rate], rate) == pytest.approx(440, rel=0.01)
    assert frames.pitch(samples[int(8.5 * rate) : int(10.5 * rate)], rate) == pytest.approx(880, rel=0.01)
    assert document["warnings"]


def test_render_is_clips_in_a_row(user, clip, tmp_path):
    """An edit of three clips shows them in its order, each exact."""
    asset = user.upload(clip)
    clips = [{"source": asset, "start": "120f", "end": "150f"}, {"source": asset, "start": 0, "end": 1}, {"source": asset, "start": 7.5}]
    document = user.post("render", {"edit": {"tracks": [{"clips": clips}]}}).json()
    made, source = frames.shown(user.download(document, tmp_path / "made.mp4")), frames.shown(clip)

    expected = [*source[120:150], *source[0:30], *source[225:240]]
    assert len(made) == len(expected)
    assert min(frames.psnr(luma, expected[n][1]) for n, (_, luma) in enumerate(made)) > 33


def test_a_result_is_a_source(user, clip, tmp_path):
    """What one job made, the next one cuts."""
    first = user.post("trim", {"source": user.upload(clip), "start": 1, "end": 5}).json()
    second = user.post("trim", {"source": first["result"]["asset"], "start": 1, "end": 2}).json()
    made, source = frames.shown(user.download(second, tmp_path / "made.mp4")), frames.shown(clip)

    assert len(made) == 30
    assert min(frames.psnr(luma, source[60 + n][1]) for n, (_, luma) in enumerate(made)) > 30


def test_asynchronous_jobs_are_told_of_as_they_go(user, clip):
    """202 and a Location at once; then events, each with the whole document, never going back, and the last one terminal."""
    answer = user.post("trim", {"source": user.upload(clip), "start": 0, "end": 8, "mode": "encode"}, Prefer="respond-async")
    where, states, percents = answer.headers["Location"], [], []
    with user.http.stream("GET", where, headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                document = json.loads(line[5:])
                states.append(document["state"])
                percents.append(document["progress"]["percent"])

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert states[-1] == "succeeded"
    assert set(states) <= {"queued", "running", "succeeded"}
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert user.job(document["id"])["result"]["frames"] == 240


def test_a_whole_body_may_be_queued(user, clip):
    """A request posted to the asynchronous route is done once, and is found in the list."""
    asset = user.upload(clip)
    answer = user.http.post("/async-function/trim", json={"source": asset, "start": 0, "end": "1.2"})
    deadline = time.monotonic() + 60
    found = []
    while time.monotonic() < deadline and not found:
        jobs = user.http.get("/function/status", params={"state": "succeeded"}).json()["jobs"]
        found = [job for job in jobs if job["request"].get("source") == asset]

    assert answer.status_code == 202
    assert answer.headers["X-Call-Id"]
    assert [job["result"]["frames"] for job in found] == [36]


def test_cancel_and_retry(user, clip):
    """A running job is cancelled by DELETE; its retry is a new job that succeeds."""
    job = user.submit("trim", {"source": user.upload(clip), "start": 0, "end": 8, "mode": "encode"})["id"]
    assert user.http.delete(f"/function/status/{job}").status_code == 202
    cancelled = user.ended(job)
    again = user.http.post(f"/function/status/{job}/retry")

    assert (cancelled["state"], cancelled["result"]) == ("cancelled", None)
    assert again.status_code == 201
    assert again.json()["id"] != job
    assert user.ended(again.json()["id"])["state"] == "succeeded"
    assert user.http.post(f"/function/status/{again.json()['id']}/retry").status_code == 409


def test_the_same_key_is_the_same_job(user, clip):
    """Twenty clients with one Idempotency-Key get one job."""
    body, jobs = {"source": user.upload(clip), "start": 0, "end": 1}, []
    threads = [threading.Thread(target=lambda: jobs.append(user.submit("trim", body, Idempotency_Key="once")["id"])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(jobs) == 20
    assert len(set(jobs)) == 1
    assert user.post("trim", {**body, "end": 2}, Idempotency_Key="once").status_code == 409


BAD = {
    "empty": (b"", {"source_empty"}),
    "text": (b"hello, I am a video\n" * 100, {"source_unsupported"}),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", {"source_unsupported"}),
    "random": (bytes((n * 7919 + n // 251) % 256 for n in range(100_000)), {"source_unsupported"}),
    "truncated": (None, {"source_truncated", "source_unreadable"}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_media_end_a_job_with_a_code_that_says_which(what, user, clip, tmp_path):
    """Files that are no media end their job `failed`, 422, with a code; never a success, never FFmpeg's own words."""
    body, codes = BAD[what]
    path = tmp_path / f"{what}.mp4"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10] if body is None else body)
    answer = user.post("trim", {"source": user.upload(path), "start": 0, "end": 8})
    document = answer.json()

    assert (answer.status_code, document["code"] in codes) == (422, True), document
    assert document["job"]["state"] == "failed"
    assert document["job"]["error"]["code"] == document["code"]
    assert "Invalid data" not in answer.text


def test_no_sound_and_only_sound(user, clip, tmp_path):
    """A clip without sound is cut to the frame; one without pictures gives the sound of the range, and no frames."""
    silent, tone = tmp_path / "silent.mp4", tmp_path / "tone.m4a"
    _ffmpeg("-i", str(clip), "-an", "-c", "copy", str(silent))
    _ffmpeg("-i", str(clip), "-vn", "-c", "copy", str(tone))
    pictures = user.post("trim", {"source": user.upload(silent), "start": "1.37", "end": "6.91"}).json()
    sound = user.post("trim", {"source": user.upload(tone), "start": "1.37", "end": "6.91"}).json()
    samples, rate = frames.sound(user.download(sound, tmp_path / "made.m4a"))

    same(frames.shown(user.download(pictures, tmp_path / "made.mp4")), frames.shown(clip), first=42, count=166)
    assert [stream["kind"] for stream in pictures["result"]["streams"]] == ["video"]
    assert [stream["kind"] for stream in sound["result"]["streams"]] == ["audio"]
    assert sound["result"]["frames"] == 0
    assert len(samples) / rate == pytest.approx(5.54, abs=0.05)
    assert frames.pitch(samples, rate) == pytest.approx(440, rel=0.01)


def _ffmpeg(*arguments):
    import imageio_ffmpeg

    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], check=True)
