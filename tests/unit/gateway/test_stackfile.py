"""stack.yml, read as faas-cli reads it."""

from pathlib import Path

import pytest

from gateway.provider import stackfile

ROOT = Path(__file__).parents[3]


@pytest.fixture
def written(tmp_path):
    """Write a stack file and load it."""
    (tmp_path / "template" / "tiny").mkdir(parents=True)
    (tmp_path / "template" / "tiny" / "index.py").touch()
    (tmp_path / "one").mkdir()

    def load(text, most=4):
        (tmp_path / "stack.yml").write_text(text)
        return stackfile.load(tmp_path / "stack.yml", most)

    return load


def function(extra="", most=4):
    return "functions:\n  one:\n    lang: tiny\n    handler: ./one\n" + "".join(f"    {line}\n" for line in extra.splitlines())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("90s", 90),
        ("1m", 60),
        ("1h1m", 3660),
        ("1h2m3s", 3723),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("1m500ms", 60.5),
        ("0s", 0),
    ],
)
def test_durations_are_gos(text, seconds):
    """Go durations and plain seconds."""
    assert stackfile.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1 h", "h1"])
def test_what_is_no_duration_is_refused(text):
    """Nonsense is an error, not zero."""
    with pytest.raises(ValueError, match="duration"):
        stackfile.seconds(text)


def test_defaults_suit_one_machine(written):
    """Without labels: none at rest, as many as the machine allows, five minutes of patience, a minute for an answer."""
    one = written(function())["one"]

    assert [one.min_replicas, one.max_replicas, one.idle_seconds, one.timeout_seconds, one.max_inflight] == [0, 4, 300, 60, 8]
    assert [one.every_seconds, one.schedule] == [None, None]


def test_labels_and_environment_are_understood(written):
    """Scale labels, timeouts and places in any case of letters."""
    one = written(
        function(
            "labels: {com.openfaas.scale.min: 1, com.openfaas.scale.max: '3', com.openfaas.scale.zero-duration: 10m}\n"
            "environment: {max_inflight: 2, write_timeout: 1h, flag: true}\n"
            "annotations: {topic: cron-function, schedule: '*/5 * * * *'}\n"
            "secrets: [a, b]"
        )
    )["one"]

    assert [one.min_replicas, one.max_replicas, one.idle_seconds, one.timeout_seconds, one.max_inflight] == [1, 3, 600, 3600, 2]
    assert [one.environment["flag"], one.secrets, one.schedule] == ["true", ("a", "b"), "*/5 * * * *"]


def test_scale_to_zero_can_be_refused(written):
    """scale.zero: false keeps one replica."""
    assert written(function("labels: {com.openfaas.scale.zero: false}"))["one"].min_replicas == 1


def test_the_machine_has_the_last_word(written):
    """Labels for a cluster do not start twenty processes here, but the maximum is never below the minimum."""
    assert written(function("labels: {com.openfaas.scale.max: 20}"), most=2)["one"].max_replicas == 2
    assert written(function("labels: {com.openfaas.scale.min: 9}"), most=2)["one"].min_replicas == 2


def test_every_wins_over_schedule(written):
    """A function that says both is called by the finer clock only."""
    one = written(function("annotations: {topic: cron-function, schedule: '* * * * *', com.native-video-editor.every: 15s}"))["one"]

    assert [one.every_seconds, one.schedule] == [15, None]


def test_variables_are_substituted(written, monkeypatch):
    """${NAME}, ${NAME:-default}, as faas-cli does before it parses."""
    monkeypatch.setenv("NVE_TEST_TAG", "7")
    one = written(function("image: ${NVE_TEST_HOST:-here.example:5000}/one:${NVE_TEST_TAG}"))["one"]

    assert one.image == "here.example:5000/one:7"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no functions"),
        ("functions: {}", "no functions"),
        ("a: [", "not valid YAML"),
        ("functions: {one: {lang: tiny}}", "handler is missing"),
        ("functions: {one: {handler: ./one}}", "lang is missing"),
        ("functions: {one: nonsense}", "function one"),
        ("functions: {Bad_Name: {lang: tiny, handler: ./one}}", "small letters"),
        ("functions: {one: {lang: nope, handler: ./one}}", "does not exist"),
        ("functions: {one: {lang: tiny, handler: ./two}}", "does not exist"),
        (function("environment: {write_timeout: soon}"), "not a duration"),
        (function("labels: {com.openfaas.scale.max: many}"), "many"),
    ],
)
def test_a_malformed_file_is_one_sentence(written, text, words):
    """Every mistake names the function and the matter, in one line."""
    with pytest.raises(stackfile.Malformed, match=words) as refused:
        written(text)

    assert "\n" not in str(refused.value)


def test_a_missing_file_is_one_sentence(tmp_path):
    """The variable to set is in it."""
    with pytest.raises(stackfile.Malformed, match="STACK_FILE"):
        stackfile.load(tmp_path / "nope.yml", 2)


def test_our_own_stack_file_is_understood():
    """The repository's stack.yml loads, and its functions wait long enough for an encode."""
    functions = stackfile.load(ROOT / "stack.yml", 2)

    assert {"trim", "merge", "render", "status", "upload", "inspect", "reap"} <= set(functions)
    assert functions["trim"].timeout_seconds >= 3600
    assert functions["reap"].every_seconds == 15
