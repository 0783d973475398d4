"""Keys, parts and download names: pure rules."""

from __future__ import annotations

import contextlib
import itertools
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import errors
from native.objects import disposition, keys, parts

IDS = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", fullmatch=True)
MIB = 1 << 20


@given(asset=IDS)
def test_a_source_key_is_read_back_as_its_asset(asset: str) -> None:
    """parse(source(asset)) is the asset."""
    assert keys.parse(keys.source(asset)) == keys.Source(asset)


@given(job=IDS, attempt=st.integers(1, 9_999_999_999), file=st.sampled_from(["result.mp4", "result.webm", "a_b-c"]))
def test_an_output_key_is_read_back_as_its_attempt(job: str, attempt: int, file: str) -> None:
    """parse(output(…)) is the same job, attempt and file, and the key lies below the job's folder."""
    key = keys.output(job, attempt, file)
    assert keys.parse(key) == keys.Output(job, attempt, file)
    assert key.startswith(keys.attempts(job))


BAD = ["", ".", "..", "../x", "a/b", "/a", "-a", "a\n", "a\0", "a b", "a'b", "a|b", "%2e%2e", "ä", "x" * 101, "a\\b", "٣"]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_not_one_of_our_ids_is_not_found(bad: str) -> None:
    """Traversal, odd bytes and over-long ids never become a key."""
    for build in (keys.source, keys.attempts, lambda x: keys.output(x, 1, "a.mp4"), lambda x: keys.output("job", 1, x)):
        with pytest.raises(errors.Problem) as refused:
            build(bad)
        assert refused.value.kind is errors.NOT_FOUND


@pytest.mark.parametrize("attempt", [0, -1, 10**10])
def test_attempts_count_from_one(attempt: int) -> None:
    """No key for attempt 0, a negative or an absurd one."""
    with pytest.raises(errors.Problem):
        keys.output("job", attempt, "a.mp4")


@given(st.text(max_size=40))
def test_parse_accepts_only_what_the_builders_build(text: str) -> None:
    """Any other text is a Problem, never another exception, and never a second spelling of a key."""
    for key in (text, f"src/{text}", f"out/{text}/1/a", f"out/a/{text}/b"):
        with contextlib.suppress(errors.Problem):
            found = keys.parse(key)
            built = keys.source(found.asset) if isinstance(found, keys.Source) else keys.output(found.job, found.attempt, found.file)
            assert built == key


@given(st.integers(0, 200 * 1024 * MIB))
def test_parts_cover_the_file_once_within_s3s_limits(size: int) -> None:
    """Parts join without gap or overlap, none but the last is below 5 MiB, and there are at most 10 000."""
    layout = parts.layout(size)
    assert [p.number for p in layout] == list(range(1, len(layout) + 1))
    assert sum(p.size for p in layout) == size
    assert all(a.offset + a.size == b.offset for a, b in itertools.pairwise(layout))
    assert all(p.size >= 5 * MIB for p in layout[:-1])
    assert len(layout) <= 10_000


@given(st.text(max_size=300))
def test_a_download_name_is_one_harmless_header(name: str) -> None:
    """Whatever the name, the header is printable ASCII on one line, without folders, and the long form decodes."""
    header = disposition.attachment(name)
    match = re.fullmatch(r"attachment; filename=\"([^\"\\]+)\"; filename\*=UTF-8''([A-Za-z0-9%._~-]+)", header)
    assert match, header
    assert header.isascii()
    assert header.isprintable()
    decoded = unquote(match[2], errors="strict")
    assert not set("/\\\r\n\0") & set(decoded)


def test_download_names_stay_what_people_called_them() -> None:
    """Letters of any script survive; what turns text round or splits headers does not."""
    assert disposition.attachment("Käse 1.mp4") == "attachment; filename=\"K_se 1.mp4\"; filename*=UTF-8''K%C3%A4se%201.mp4"
    assert "%E2%80%AE" not in disposition.attachment("a\u202e4pm.exe")
    assert disposition.attachment("../../etc/passwd").startswith('attachment; filename="_.._etc_passwd"')
    assert disposition.attachment("...") == "attachment; filename=\"download\"; filename*=UTF-8''download"
    assert disposition.attachment("x" * 300 + ".mp4").count("x") == 2 * (disposition.LONGEST - 4)
