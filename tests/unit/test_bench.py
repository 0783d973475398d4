"""The arithmetic of the benchmark, its drawing, and how it looks at outputs."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import cut
from bench.race import chart, row, shown
from bench.race.clock import Failed, time
from bench.race.result import Entry, Outcome, Race, Sample, Seen, Verdict, load, paired
from bench.race.row import AtMost, Contestant, Identical, Ratio, Row

HERE = Path(__file__).parents[2] / "bench/race"


def sample(wall=1.0, cpu=2.0, **more):
    return Sample(wall, cpu, 10_000_000, **more)


def entries(ours, theirs):
    return {"nve": Entry("nve", ours), "peer": Entry("peer", theirs)}


def race():
    one, other = sample(encoded_frames=3, warnings=("a & b",)), sample(20, 40, read_bytes=7)
    them = (
        Entry("nve", (one, sample(1.2)), Seen(True, "3 frames, 0–2")),
        Entry("a <peer>", (other,), Seen(False, "none")),
        Entry("melt", failed="no"),
    )
    verdicts = (Verdict("CPU", 0.05, "≤ 1/20", True, "1/20.0"), Verdict("memory", None, "≤ 1", None, "not judged: no"))
    return Race("2 cores", 0.1, "2030-01-01", False, 2, {"FFmpeg": "9"}, (Outcome("one", "a & b", "cpu_seconds", them, verdicts),))


# arithmetic


def test_ratios_are_of_runs_that_followed_each_other():
    """The median of the quotients, not the quotient of the medians."""
    assert paired([1, 9, 2], [2, 9, 8]) == pytest.approx(0.5)


def test_a_slow_peer_that_ran_once_stands_for_every_run():
    """Fewer runs of the peer are its last one again."""
    assert paired([1, 2, 3], [10]) == pytest.approx(0.2)
    assert paired([], [10]) is None
    assert paired([1], []) is None


def test_a_ratio_holds_up_to_its_bound_and_no_further():
    """At the bound is ok, above it is missed."""
    bound = Ratio("cpu_seconds", "peer", Fraction(1, 6))

    assert bound.judge(entries((sample(cpu=2),), (sample(cpu=12),))).holds is True
    assert bound.judge(entries((sample(cpu=2),), (sample(cpu=11.9),))).holds is False


def test_what_was_not_counted_is_a_miss():
    """No figure is no success."""
    assert Ratio("read_bytes", "peer", Fraction(1)).judge(entries((sample(),), (sample(read_bytes=1),))).holds is False
    assert AtMost("frames encoded", lambda _: None, 40).judge({}).holds is False
    assert Identical(3).judge(entries((sample(),), ())).holds is False


def test_a_peer_that_is_not_installed_judges_nothing():
    """Its row says so, and ours is neither ok nor missed."""
    verdict = Ratio("cpu_seconds", "peer", Fraction(1)).judge({"nve": Entry("nve", (sample(),)), "peer": Entry("peer", failed="not there")})

    assert (verdict.holds, verdict.words) == (None, "not judged: not there")


def test_when_ours_fails_the_bound_is_missed():
    """Even where the peer failed, too."""
    both = {"nve": Entry("nve", failed="crashed"), "peer": Entry("peer", failed="not there")}

    assert Ratio("cpu_seconds", "peer", Fraction(1)).judge(both).holds is False


@pytest.mark.parametrize(("value", "words"), [(Fraction(1, 6), "1/6"), (Fraction(3, 2), "1.5"), (Fraction(1), "1")])
def test_bounds_are_written_as_people_write_them(value, words):
    """A fraction below one is a quotient."""
    assert row.fraction(value) == words


# a row


def run(tmp_path, *contestants, runs=2, right=True, bounds=()):
    made = Row("one", "a row", contestants, lambda path: Seen(right and path.read_text() == "ours", "looked"), bounds)
    return row.run(made, runs, tmp_path, lambda _: None)


def contestant(name, text="ours", **more):
    calls = []

    def make(output):
        calls.append(output)
        output.write_text(text)
        return sample()

    return Contestant(name, make, **more), calls


def test_all_run_in_turn_and_what_is_slow_runs_once(tmp_path):
    """Two runs of the quick ones, one of the slow one, and nothing is left in the folder."""
    (ours, first), (slow, second) = contestant("nve"), contestant("slow", once=True)
    outcome = run(tmp_path, ours, slow)

    assert (len(first), len(second)) == (2, 1)
    assert [len(entry.samples) for entry in outcome.entries] == [2, 1]
    assert outcome.holds
    assert list(tmp_path.iterdir()) == []


def test_speed_without_the_right_frames_is_a_miss(tmp_path):
    """A row holds only when our output shows what was asked for."""
    outcome = run(tmp_path, contestant("nve", "other frames")[0], contestant("peer")[0])

    assert not outcome.holds
    assert [entry.seen.right for entry in outcome.entries] == [False, True]


def test_a_quick_run_judges_what_is_shown_and_not_what_it_costs(tmp_path):
    """Short clips are not what the bounds are meant for."""
    made = Row("one", "a row", [contestant("nve")[0]], lambda _: Seen(True, "looked"), (AtMost("frames", lambda _: 9, 1),))

    assert not row.run(made, 1, tmp_path, lambda _: None).holds
    assert row.run(made, 1, tmp_path, lambda _: None, judged=False).holds


def test_who_fails_is_said_and_does_not_run_again(tmp_path):
    """The row goes on without it."""

    def fails(_):
        raise Failed("no such codec")

    outcome = run(tmp_path, Contestant("nve", fails), contestant("peer")[0], Contestant("melt", fails, absent="apt install melt"))

    assert [entry.failed for entry in outcome.entries] == ["no such codec", None, "apt install melt"]
    assert not outcome.holds


def test_an_output_that_cannot_be_decoded_is_a_finding(tmp_path):
    """It is not an error of the benchmark."""

    def look(_):
        raise ValueError

    outcome = row.run(Row("one", "a row", [contestant("nve")[0]], look), 1, tmp_path, lambda _: None)

    assert outcome.entries[0].seen == Seen(False, "cannot be decoded (ValueError)")


# costs


def test_the_meter_counts_the_memory_of_the_command_and_not_ours(tmp_path):
    """A small command is small, however large this process is."""
    ballast = bytearray(200_000_000)
    small = time([["/bin/sh", "-c", "exit 0"]], tmp_path)
    large = time([["python3", "-c", "x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096])"]], tmp_path)

    assert len(ballast) > 0
    assert small.peak_bytes < 60_000_000
    assert large.peak_bytes > 150_000_000


def test_a_command_that_fails_is_quoted(tmp_path):
    """Its last line says why."""
    with pytest.raises(Failed, match="ended with 3: no such thing"):
        time([["/bin/sh", "-c", "echo no such thing >&2; exit 3"]], tmp_path)


# looking


def test_the_number_of_every_frame_is_read_off_the_picture(tmp_path):
    """Clip and frame, after encoding and scaling; and a missing frame is noticed."""
    from bench.race.clips import Clip, ffmpeg, make, x264

    source = make(Clip("tiny", 2, (*x264("ultrafast", 28), "-g", "30"), "640x360", number=5), tmp_path)
    small = tmp_path / "small.mp4"
    ffmpeg("-i", source, "-vf", "scale=320:-2", "-c:a", "copy", small)
    wanted = [(5, n) for n in range(60)]

    assert [(it.clip, it.frame) for it in shown.pictures(small)] == wanted
    assert shown.cut(source, wanted, lambda n: n / 30).right
    assert shown.same(shown.pictures(source), shown.pictures(source)) == 60
    assert not shown.cut(source, [*wanted, (5, 60)], lambda n: n / 30).right


def test_sound_that_comes_late_is_noticed(tmp_path):
    """20 ms is measured to a millisecond, and other sound is no match."""
    from bench.race.clips import Clip, ffmpeg, make, x264

    source = make(Clip("tiny", 2, (*x264("ultrafast", 28), "-g", "30"), "640x360"), tmp_path)
    late = tmp_path / "late.mp4"
    ffmpeg("-i", source, "-itsoffset", "0.02", "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    seen = shown.cut(late, [(0, n) for n in range(60)], lambda n: n / 30)
    samples, rate, _ = shown.sound(source)

    assert not seen.right
    assert "+20.0 ms" in seen.words
    assert shown.slip(samples, rate, 0.5, lambda t: t) == pytest.approx(0, abs=0.001)
    assert shown.slip(np.sin(np.arange(48000) / 10).astype(np.float32), rate, 0.5, lambda t: t) is None


def test_pitch_is_found_between_the_lines():
    """A tone that no line of the spectrum falls on, to a tenth of a hertz."""
    assert shown.pitch(np.sin(2 * np.pi * 443.7 * np.arange(48000) / 48000), 48000) == pytest.approx(443.7, abs=0.1)


# what is shown to people


def test_results_survive_being_stored():
    """What is read back is what was written."""
    assert load(json.loads(json.dumps(race().document()))) == race()


def test_the_drawing_is_a_well_formed_picture():
    """A bar for each that ran, longer for what took longer, strange names included, and colours for the dark."""
    drawing = ElementTree.fromstring(chart.drawing(race()))
    bars = [float(it.attrib["width"]) for it in drawing.iter("{http://www.w3.org/2000/svg}rect")]
    words = [text for it in drawing.iter() for text in [it.text or ""]]

    assert len(bars) == 2
    assert all(a < b for a, b in pairwise(bars))
    assert "a <peer>" in words
    assert any("prefers-color-scheme: dark" in text for text in words)


def test_the_page_and_the_table_name_everything():
    """Every contestant, bound and failure is on the page and in the table."""
    for text in (chart.page(race()), chart.table(race().outcomes[0])):
        assert all(word in text for word in ("nve", "a <peer>", "melt", "not judged: no", "1/20.0"))
    assert "a & b" in chart.table(race().outcomes[0])
    missed = replace(race().outcomes[0], verdicts=(Verdict("CPU", 1.0, "≤ 1/20", False, "1.00"),))
    assert "MISSED" in chart.summary(replace(race(), outcomes=(missed,)))


def test_rows_have_names_of_their_own():
    """No family hides another's row."""
    from bench.rows import codecs, merges, segments, stored, trims

    families = (trims, stored, segments, merges, codecs)
    assert len(cut.ROWS) == sum(len(family.ROWS) for family in families)


@pytest.mark.parametrize("name", ["smartcut", "moviepy"])
def test_the_peers_are_pinned_by_hash(name):
    """Their lock files carry versions and hashes, and no download addresses."""
    lock = (HERE / f"requirements-{name}.lock").read_text()
    wanted = [line for line in (HERE / f"requirements-{name}.in").read_text().splitlines() if "==" in line]

    assert "://" not in lock
    assert all(f"{pin} " in lock for pin in wanted)
    assert "--hash=sha256:" in lock
