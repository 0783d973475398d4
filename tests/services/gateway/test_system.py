"""The provider API that faas-cli speaks, health, metrics, and the pages about the contract."""

import base64
import datetime
import itertools
import json

import pytest

from tests.services.gateway.conftest import until

OPERATOR = ("admin", "open sesame")


@pytest.mark.parametrize("auth", [None, ("admin", "wrong"), ("root", "open sesame"), ("admin", "")])
@pytest.mark.parametrize("path", ["/system/functions", "/system/info", "/system/anything"])
def test_only_the_operator_may_look(gateway, auth, path):
    """Without the operator's password everything under /system answers 401, whether it exists or not."""
    answer = gateway.client.get(path, auth=auth)

    assert [answer.status_code, answer.json()["code"]] == [401, "unauthenticated"]
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_without_a_password_nobody_may(start):
    """An empty password opens nothing."""
    gateway = start(GATEWAY_PASSWORD="")
    headers = {"Authorization": "Basic " + base64.b64encode(b"admin:").decode()}

    assert gateway.client.get("/system/functions", headers=headers).status_code == 401


def test_the_password_may_come_from_a_file(start, tmp_path):
    """GATEWAY_PASSWORD_FILE, with the line end that editors leave."""
    (tmp_path / "password").write_text("from a file\n")
    gateway = start(GATEWAY_PASSWORD_FILE=str(tmp_path / "password"))

    assert gateway.client.get("/system/info", auth=("admin", "from a file")).status_code == 200


def test_functions_are_listed_as_openfaas_does(start):
    """A FunctionStatus with what stack.yml says, how many replicas run, and how often it was called."""
    entry = {
        "image": "${NVE_TEST_REGISTRY:-registry.example}/trim:1",
        "environment": {"MAX_INFLIGHT": "2", "debug": True},
        "labels": {"com.openfaas.scale.max": "1"},
        "annotations": {"topic": "none"},
        "limits": {"memory": "1Gi"},
        "secrets": ["s3-key"],
        "readonly_root_filesystem": True,
    }
    gateway = start({"trim": entry}, GATEWAY_PASSWORD=OPERATOR[1])
    cold = gateway.client.get("/system/function/trim", auth=OPERATOR).json()
    gateway.client.get("/function/trim")
    listed = gateway.client.get("/system/functions", auth=OPERATOR).json()
    elsewhere = gateway.client.get("/system/functions?namespace=other", auth=OPERATOR).json()
    created = datetime.datetime.fromisoformat(listed[0].pop("createdAt"))

    assert listed == [
        {
            "name": "trim",
            "image": "registry.example/trim:1",
            "namespace": "openfaas-fn",
            "envProcess": "python index.py",
            "envVars": {"MAX_INFLIGHT": "2", "debug": "true"},
            "constraints": [],
            "secrets": ["s3-key"],
            "labels": {"com.openfaas.scale.max": "1"},
            "annotations": {"topic": "none"},
            "limits": {"memory": "1Gi"},
            "requests": None,
            "readOnlyRootFilesystem": True,
            "invocationCount": 1,
            "replicas": 1,
            "availableReplicas": 1,
        }
    ]
    assert [cold["replicas"], cold["invocationCount"]] == [0, 0]
    assert elsewhere == []
    assert abs((datetime.datetime.now(datetime.UTC) - created).total_seconds()) < 60
    assert gateway.client.get("/system/secrets", auth=OPERATOR).json() == [{"name": "s3-key", "namespace": "openfaas-fn"}]


def test_unknown_functions_are_404(gateway):
    """Looking at, scaling or reading what does not exist is not found."""
    answers = [
        gateway.client.get("/system/function/nope", auth=OPERATOR),
        gateway.client.post("/system/scale-function/nope", json={"replicas": 1}, auth=OPERATOR),
        gateway.client.get("/system/logs?name=nope", auth=OPERATOR),
    ]

    assert [a.status_code for a in answers] == [404, 404, 404]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_deploying_is_not_for_here(gateway, method):
    """What runs is written in stack.yml; the refusal says so."""
    answer = gateway.client.request(method, "/system/functions", json={"service": "x"}, auth=OPERATOR)

    assert [answer.status_code, answer.json()["code"]] == [501, "not_implemented"]
    assert "stack.yml" in answer.json()["detail"]


def test_the_operator_may_scale(start):
    """Two replicas when asked for two, none when asked for none, never more than the maximum."""
    gateway = start(GATEWAY_PASSWORD=OPERATOR[1])

    def scale(replicas):
        return gateway.client.post(
            "/system/scale-function/pair", json={"serviceName": "pair", "replicas": replicas}, auth=OPERATOR
        ).status_code

    assert scale(5) == 202
    until(lambda: gateway.client.get("/system/function/pair", auth=OPERATOR).json()["availableReplicas"] == 2, "two replicas")
    assert scale(0) == 202
    until(lambda: gateway.replicas() == [], "none")
    assert [scale(-1), scale("two"), scale(None), scale(True)] == [400, 400, 400, 400]


def test_logs_are_lines_of_json(gateway):
    """tail, since and the end of the file are kept to; each line tells function, time and text."""
    for number in range(3):
        gateway.client.get(f"/function/echo/line-{number}")
    until(lambda: "line-2" in (gateway.folder / "logs/echo.log").read_text(), "the lines")
    lines = [json.loads(line) for line in gateway.client.get("/system/logs?name=echo&tail=2", auth=OPERATOR).text.splitlines()]
    later = gateway.client.get("/system/logs?name=echo&since=2999-01-01T00:00:00Z", auth=OPERATOR)
    nonsense = gateway.client.get("/system/logs?name=echo&since=yesterday", auth=OPERATOR)

    assert ["line-1" in lines[0]["text"], "line-2" in lines[1]["text"]] == [True, True]
    assert {(line["name"], line["namespace"]) for line in lines} == {("echo", "openfaas-fn")}
    assert [later.text, nonsense.status_code] == ["", 400]


def test_logs_can_be_followed(gateway):
    """What a function says while somebody follows arrives while it is being said."""
    gateway.client.get("/function/echo")
    with gateway.client.stream("GET", "/system/logs?name=echo.openfaas-fn&follow=1", auth=OPERATOR) as answer:
        lines = answer.iter_lines()
        next(lines)
        gateway.client.get("/function/echo/followed")

        assert next(line for line in lines if "followed" in line)


def test_info_and_namespaces(gateway):
    """What faas-cli version and faas-cli namespaces read."""
    info = gateway.client.get("/system/info", auth=OPERATOR).json()

    assert [info["provider"]["provider"], info["provider"]["orchestration"]] == ["native-video-editor", "processes"]
    assert info["version"]["release"]
    assert gateway.client.get("/system/namespaces", auth=OPERATOR).json() == ["openfaas-fn"]


def test_metrics_agree_with_the_calls(start):
    """Counters and the histogram carry OpenFaaS's names and labels and count every call once, with its code."""
    gateway = start()
    for path in ("", "", "/code/404", "/code/500"):
        gateway.client.post(f"/function/echo{path}")
    gateway.client.post("/function/unknown")
    gateway.client.post("/async-function/echo", headers={"X-Call-Id": "counted"})
    until(lambda: gateway.notes("end", call="counted"), "the delivery")
    name = "echo.openfaas-fn"
    until(lambda: gateway.metric("gateway_functions_in_flight", function_name=name) == 0, "the end of all calls")
    text = gateway.client.get(f"{gateway.metrics_url}/metrics").text

    def total(code):
        return gateway.metric("gateway_function_invocation_total", function_name=name, code=code)

    assert [total("200"), total("202"), total("404"), total("500")] == [3, 1, 1, 1]
    assert gateway.metric("gateway_function_invocation_started", function_name=name) == 6
    assert gateway.metric("gateway_functions_seconds_count", code="200", function_name=name) == 3
    assert f'gateway_functions_seconds_bucket{{code="200",function_name="{name}",le="3600.0"}} 3.0' in text
    assert gateway.metric("gateway_service_count", function_name=name) == 1
    assert gateway.metric("gateway_cold_start_seconds_count", function_name=name) == 1
    assert gateway.metric("gateway_queue_depth", function_name=name) == 0
    assert gateway.metric("gateway_redis_up") == 1
    assert "unknown" not in text
    assert gateway.client.get(f"{gateway.metrics_url}/healthz").text == "OK"


def test_health_is_for_people_and_for_probes(gateway):
    """/healthz is plain, /health tells of the gateway, Redis and every function; neither needs a key."""
    health = gateway.client.get("/health")

    assert gateway.client.get("/healthz").text == "OK"
    assert [health.status_code, health.json()["status"]] == [200, "ok"]
    assert health.json()["redis"]["ok"] is True
    assert {"state", "replicas", "in_flight", "waiting"} == set(health.json()["functions"]["echo"])
    assert health.json()["gateway"]["version"]


def test_the_contract_can_be_read(gateway):
    """/openapi.json and /docs are served without a key, and / leads there."""
    home = gateway.client.get("/")
    docs = gateway.client.get("/docs")

    assert [home.status_code, home.headers["location"]] == [307, "/docs"]
    assert gateway.client.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert docs.headers["content-type"].startswith("text/html")
    assert "script-src" not in docs.headers["content-security-policy"]
    assert "/function/trim" in docs.text


def test_the_clock_calls_functions(start):
    """`every` calls again and again and never twice at once, however long a call takes."""
    entry = {
        "annotations": {"com.native-video-editor.every": "200ms"},
        "labels": {"com.openfaas.scale.max": "1"},
        "environment": {"SLOW": "0.5"},
    }
    gateway = start({"reap": entry})
    until(lambda: len(gateway.notes("end", function="reap", path="/")) >= 3, "three calls")
    begins = [note["time"] for note in gateway.notes("begin", function="reap")]
    ends = [note["time"] for note in gateway.notes("end", function="reap")]

    assert all(begin >= end for begin, end in zip(begins[1:], ends, strict=False))
    assert min(later - earlier for earlier, later in itertools.pairwise(begins)) >= 0.5
