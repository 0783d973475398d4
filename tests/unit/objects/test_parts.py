"""How the parts of a joined object are laid: whatever is joined, S3's rules hold and no byte is lost, doubled or moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from native.objects import parts
from native.objects.parts import MIB, Span

sizes = st.one_of(st.integers(1, 3 * MIB), st.integers(4 * MIB, 6 * MIB), st.integers(1, 300 * MIB))
spans = st.lists(st.builds(Span, st.sampled_from([None, None, 0, 1]), st.integers(0, 1 << 40), sizes), min_size=1, max_size=12)


def flat(found: list[Span]) -> list[Span]:
    """Neighbours that continue each other as one."""
    joined: list[Span] = []
    for span in found:
        last = joined[-1] if joined else None
        if last and last.source == span.source and last.offset + last.size == span.offset:
            joined[-1] = Span(last.source, last.offset, last.size + span.size)
        else:
            joined.append(span)
    return joined


@given(spans)
def test_parts_are_the_bytes_in_order(joined: list[Span]) -> None:
    """The parts one after the other are the spans one after the other."""
    assert flat([span for step in parts.join(joined) for span in step.spans]) == flat(joined)


@given(spans)
def test_parts_obey_the_store(joined: list[Span]) -> None:
    """Every part but the last has 5 MiB, none is empty or too large, numbers begin at 1, and a copied one is one range of one source."""
    steps = parts.join(joined)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.size >= parts.LEAST for step in steps[:-1])
    assert all(step.size > 0 for step in steps)
    for step in steps:
        assert step.size <= (parts.COPIED if step.copied else 2 * parts.LEAST) + parts.LEAST
        assert not step.copied or (len(step.spans) == 1 and step.spans[0].source is not None and step.size >= parts.LEAST)


@given(spans)
def test_little_of_a_long_range_is_sent(joined: list[Span]) -> None:
    """Of every range worth copying at most 5 MiB are sent, and only after bytes that would be too few alone."""
    sent = [span for step in parts.join(joined) if not step.copied for span in step.spans if span.source is not None]
    long = [span for span in joined if span.source is not None and span.size >= parts.WORTH]
    short = sum(span.size for span in joined if span.source is not None and span.size < parts.WORTH)
    assert sum(span.size for span in sent) <= short + parts.LEAST * len(long)
    assert all(step.copied for step in parts.join([Span(0, 5, parts.WORTH)]))


def test_the_largest_objects_have_few_enough_parts() -> None:
    """Half a tebibyte, made of few and of many ranges, needs no more than the 10 000 parts that S3 allows."""
    for count in (1, 3000):
        each = (1 << 39) // count
        steps = parts.join([span for n in range(count) for span in (Span(None, n * 100, 100), Span(0, n * each, each))])
        assert len(steps) <= 10_000
        assert all(step.size < 5 << 30 for step in steps)


def test_a_cut_of_spans() -> None:
    """Bytes of spans by their place in the whole."""
    joined = [Span(None, 0, 10), Span(1, 100, 10), Span(None, 10, 5)]
    assert parts.cut(joined, 8, 22) == (Span(None, 8, 2), Span(1, 100, 10), Span(None, 10, 2))
    assert parts.cut(joined, 12, 14) == (Span(1, 102, 2),)
    assert parts.cut(joined, 25, 30) == ()
