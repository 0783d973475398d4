"""The command line and the README, as somebody types them who has just got the checkout."""

import json
import re
import shlex
import subprocess

import pytest

from tests import frames
from tests.acceptance.conftest import ROOT, made_clip, nve

README = (ROOT / "README.md").read_text()


def document(done):
    """What a command that ended well printed with --json."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_trim_writes_the_range_to_a_file(stack, clip, tmp_path):
    """`nve trim` writes the exact range to a file; --json prints one document; a bad time ends with 2 and a sentence."""
    out = tmp_path / "out.mp4"
    done = nve("trim", str(clip), "--start", "1.37", "--end", "6.91", "-o", str(out), "--json", data=stack)
    wrong = nve("trim", str(clip), "--start", "5", "--end", "3", "-o", str(tmp_path / "no.mp4"), data=stack)

    assert document(done)["result"]["frames"] == 166
    assert len(frames.shown(out)) == 166
    assert wrong.returncode == 2
    assert "after" in wrong.stderr
    assert not (tmp_path / "no.mp4").exists()


def test_merge_writes_the_film_to_a_file(stack, clip, tmp_path):
    """`nve merge` joins files in the order in which they are named."""
    out = tmp_path / "film.mov"
    done = document(nve("merge", str(clip), str(clip), "-o", str(out), "--json", data=stack))

    assert done["result"]["copied_frames"] == len(frames.shown(out)) == 480


def test_render_reads_an_edit(stack, clip, tmp_path):
    """`nve render EDIT.json` finds the edit's files beside it, and makes its clips in their order."""
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    clips = [{"source": "a.mp4", "start": "120f", "end": "150f"}, {"source": "a.mp4", "start": "0.5", "end": "0:01"}]
    (tmp_path / "edit.json").write_text(json.dumps({"clips": clips}))
    out = tmp_path / "film.mp4"
    done = document(nve("render", str(tmp_path / "edit.json"), "-o", str(out), "--json", data=stack))

    made, source = frames.shown(out), frames.shown(clip)
    expected = [*source[120:150], *source[15:30]]
    assert done["result"]["frames"] == len(made) == len(expected)
    assert min(frames.psnr(luma, expected[n][1]) for n, (_, luma) in enumerate(made)) > 33


def test_inspect_shows_what_is_in_a_file(stack, clip):
    """`nve inspect` names streams, duration and key frames, as a document and as lines."""
    shown = document(nve("inspect", str(clip), "--json", data=stack))
    lines = nve("inspect", str(clip), data=stack).stdout

    assert [stream["codec"] for stream in shown["streams"]] == ["h264", "aac"]
    assert float(shown["duration"]) == pytest.approx(8, abs=0.05)
    assert [float(time) for time in shown["keyframes"]] == pytest.approx([0, 2, 4, 6], abs=0.001)
    assert "320×180" in lines
    assert "4 key frames" in lines


def test_jobs_job_cancel_and_retry(stack, user, clip, tmp_path):
    """`nve jobs` lists, `nve job` shows and saves, `nve cancel` ends, `nve retry` starts again; a job that failed ends with 1."""
    body = {"source": user.upload(clip), "start": 0, "end": 8, "mode": "encode"}
    first = user.submit("trim", body)["id"]
    cancelled = document(nve("cancel", first, "--json", data=stack))
    user.ended(first)
    shown = nve("job", first, data=stack)
    again = document(nve("retry", first, "--follow", "--json", data=stack))
    saved = nve("job", again["id"], "-o", str(tmp_path / "out.mp4"), data=stack)
    listed = document(nve("jobs", "--json", data=stack))["jobs"]
    failed = nve("jobs", "--state", "cancelled", data=stack)

    assert cancelled["id"] == first
    assert (shown.returncode, "cancelled" in shown.stdout) == (1, True)
    assert (again["state"], again["result"]["frames"]) == ("succeeded", 240)
    assert (saved.returncode, len(frames.shown(tmp_path / "out.mp4"))) == (0, 240)
    assert [job["state"] for job in listed if job["id"] in (first, again["id"])] == ["succeeded", "cancelled"]
    assert first in failed.stdout
    assert again["id"] not in failed.stdout


def test_the_demo_goes_the_whole_way(stack):
    """`nve demo` makes two clips, cuts and joins them, and finds every frame of the film to be the one that belongs there."""
    shown = document(nve("demo", "--json", data=stack, timeout=280))
    steps = {step["name"]: step for step in shown["steps"]}

    assert (shown["exact"], shown["problems"]) == (True, [])
    assert steps["check"]["got"].startswith("162 frames: ")
    assert int(steps["trim clip-1.mp4"]["copied"].split()[0]) > 0
    assert len(frames.shown(shown["film"])) == 162  # [7.971, 11.413) and [8.007, 9.971) at 30 a second


def test_the_demo_takes_clips_of_ones_own(stack, clip, odd_clip):
    """`nve demo A B` with clips that do not agree checks each cut, and the length of the film."""
    shown = document(nve("demo", str(clip), str(odd_clip), "--json", data=stack, timeout=280))
    names = [step["name"] for step in shown["steps"]]

    assert (shown["exact"], shown["problems"]) == (True, [])
    assert {"check clip.mp4", "check odd.mp4", "check the film"} <= set(names)


def blocks():
    """The README's commands, one a line, as its code blocks have them."""
    text = "\n".join(re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    return [line for line in text.splitlines() if re.match(r"\./nve |curl |echo |export ", line)]


def test_the_readmes_curl_is_answered_with_the_finished_job(stack, user, url, tmp_path):
    """The README's curl, word for word but for the asset and the address, gets the job with its result."""
    talk = made_clip(tmp_path / "talk.mp4", "testsrc2=s=128x72:r=10:d=121", 440, 48000, 1)
    (command,) = [line for line in blocks() if line.startswith("curl")]
    command = command.replace("http://127.0.0.1:8080", url).replace("<asset id>", user.upload(talk))
    environment = {"PATH": "/usr/bin:/bin", "NVE_KEY": (stack / "secrets/key").read_text().strip()}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=True)

    assert json.loads(done.stdout)["state"] == "succeeded"
    assert json.loads(done.stdout)["result"]["frames"] == 365  # [83.5, 120) at 10 a second


def test_the_readmes_commands_are_there():
    """Every `./nve` command of the README is one that the command line has, with the options that it names."""
    commands = [shlex.split(line, comments=True) for line in blocks() if line.startswith("./nve")]
    commands += [shlex.split(found) for found in re.findall(r"`(\./nve [a-z ]+)", README)]

    assert {"demo", "test", "up", "trim", "merge", "down"} <= {words[1] for words in commands}
    for words in {tuple(words) for words in commands}:
        # the second form is what people read here: `test` and `bench` begin with the set-up of their packages, so their help is enough
        shown = nve_help(words[1])
        assert shown.returncode == 0, shown.stderr
        assert [word for word in words if word.startswith("-") and not re.search(rf"(?<![\w-]){word}(?![\w-])", shown.stdout)] == []


def nve_help(command):
    arguments = [str(ROOT / ".venv/bin/python"), "-P", "-m", "cli", command, "--help"]
    return subprocess.run(
        arguments, env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"}, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_is_left_on_stdout_but_the_document(stack, clip, tmp_path):
    """Without a terminal and without --json, what is printed is the file that was saved, and nothing else."""
    out = tmp_path / "out.mp4"
    done = nve("trim", str(clip), "--start", "0", "--end", "1", "-o", str(out), data=stack)

    assert (done.returncode, done.stdout) == (0, f"{out}\n")
