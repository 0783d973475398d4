"""Functions as processes: started when needed, as many as needed, mended when they die, gone when idle or when the gateway goes."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
from pydantic import SecretStr

from gateway.provider import process, replica, stackfile
from gateway.settings import Settings
from tests.services.gateway.conftest import ROOT, until


def one(**labels):
    """A function with one place in each of its processes."""
    scale = {f"com.openfaas.scale.{name.replace('_', '-')}": str(value) for name, value in labels.items()}
    return {"environment": {"MAX_INFLIGHT": "1"}, "labels": {"com.openfaas.scale.max": "1", **scale}}


def test_the_first_call_starts_the_function(start):
    """Nothing runs before the first call; one process answers it and all that follow."""
    gateway = start()
    before = gateway.replicas()
    pids = {gateway.client.get("/function/echo").json()["pid"] for _ in range(5)}

    assert before == []
    assert [p.pid for p in gateway.replicas()] == list(pids)


def test_first_calls_at_once_share_one_start(start):
    """Eight first calls to a function with eight places start one process."""
    gateway = start({"echo": {"environment": {"MAX_INFLIGHT": "8"}, "labels": {"com.openfaas.scale.max": "2"}}})
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: gateway.client.get("/function/echo/sleep/0.2").status_code, range(8)))

    assert codes == [200] * 8
    assert len(gateway.notes("start")) == 1


def test_load_brings_replicas_up_to_the_maximum(start):
    """Two calls at once to a function with one place run in two processes, a third waits for a place."""
    gateway = start()
    began = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: gateway.client.post("/function/pair/sleep/0.6").json()["pid"], range(3)))

    assert len(set(answers)) == 2
    assert len(gateway.notes("start")) == 2
    assert time.monotonic() - began > 1.2
    assert gateway.metric("gateway_service_count", function_name="pair.openfaas-fn") == 2


def test_a_label_cannot_ask_for_more_than_the_machine_has(start):
    """scale.max of 20 is for a cluster; here GATEWAY_MAX_REPLICAS has the last word."""
    gateway = start({"many": one(max=20)}, GATEWAY_MAX_REPLICAS="2")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: gateway.client.post("/function/many/sleep/0.3"), range(4)))

    assert len(gateway.notes("start")) == 2


def test_who_finds_all_places_taken_waits_a_little_and_then_hears_429(start):
    """A full function at its maximum answers busy, with Retry-After, after the time that a caller may wait."""
    gateway = start({"one": one()}, GATEWAY_BUSY_SECONDS="0.4")
    gateway.client.get("/function/one")
    holder = threading.Thread(target=gateway.client.post, args=("/function/one/sleep/1.5",))
    holder.start()
    until(lambda: gateway.notes("begin", path="/sleep/1.5"), "the first call")
    began = time.monotonic()
    answer = gateway.client.post("/function/one")

    assert [answer.status_code, answer.json()["code"], answer.headers["retry-after"]] == [429, "busy", "2"]
    assert 0.3 < time.monotonic() - began < 1.2
    holder.join()


def test_streams_leave_places_for_callers(start):
    """Of four places event streams get three: the fourth stream hears busy, a plain call is answered."""
    entry = {"environment": {"MAX_INFLIGHT": "4"}, "labels": {"com.openfaas.scale.max": "1"}}
    gateway = start({"four": entry}, GATEWAY_BUSY_SECONDS="0.3")
    events = {"Accept": "text/event-stream"}
    with contextlib.ExitStack() as streams:
        readers = []  # a reader that is dropped closes its stream
        for _ in range(3):
            answer = streams.enter_context(gateway.client.stream("GET", "/function/four/events/1000/0.1", headers=events))
            readers.append(answer.iter_lines())
            next(readers[-1])
        fourth = gateway.client.get("/function/four/events/1/0", headers=events)
        call = gateway.client.get("/function/four")

    assert [fourth.status_code, call.status_code] == [429, 200]


def test_a_killed_replica_is_replaced_at_the_next_call(start):
    """kill -9 costs the next caller a cold start and no error."""
    gateway = start()
    first = gateway.client.get("/function/echo").json()["pid"]
    dead = psutil.Process(first)
    dead.kill()
    dead.wait(10)  # its port is open until it is gone: a POST that reaches it before that is lost with it, and the caller is told so
    second = gateway.client.post("/function/echo")

    assert second.status_code == 200
    assert second.json()["pid"] != first
    assert until(lambda: [line for line in gateway.log() if line["event"] == "ended" and line["pid"] == first], "a line in the log")


def test_an_idle_function_is_stopped(start):
    """After zero-duration without a call the process gets SIGTERM, and the next call starts another."""
    gateway = start({"one": one(zero_duration="1s")})
    gateway.client.get("/function/one")
    until(lambda: gateway.replicas() == [], "no process", within=5)

    assert len(gateway.notes("stop")) == 1
    assert gateway.client.get("/function/one").status_code == 200


def test_the_minimum_is_kept(start):
    """scale.min replicas are started at once, outlive idleness, and come back when killed."""
    gateway = start({"one": one(min=1, zero_duration="0s")})
    first = until(gateway.replicas, "a process without a call")
    until(lambda: gateway.notes("start"), "its start")
    first[0].kill()
    again = until(lambda: [p for p in gateway.replicas() if p.pid != first[0].pid], "another process")

    assert len(again) == 1


def test_a_function_that_cannot_start_is_a_clear_503(start, tmp_path):
    """It is tried with growing pauses, callers are told at once, /health names it, and once it is mended it serves."""
    broken = tmp_path / "broken"
    broken.touch()
    gateway = start({"one": {"environment": {"BROKEN": str(broken)}}})
    answers = [gateway.client.post("/function/one") for _ in range(2)]
    began = time.monotonic()
    answers.append(gateway.client.post("/function/one"))
    took = time.monotonic() - began
    health = gateway.client.get("/health")
    starts = [line for line in gateway.log() if line["event"] == "failing"]

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(503, "function_unavailable")}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert took < 1
    assert "ended with 1" in starts[0]["reason"]
    assert [health.status_code, health.json()["functions"]["one"]["state"]] == [503, "failing"]
    broken.unlink()
    assert until(lambda: gateway.client.post("/function/one").status_code == 200, "service")


def test_a_port_that_was_taken_in_between_is_no_failure(gateway, monkeypatch, tmp_path, caplog):
    """A process that finds its port taken is started again on another one, and nobody hears of it."""
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    function = stackfile.load(gateway.folder / "stack.yml", 2)["echo"]
    settings = Settings(redis_url=SecretStr("redis://127.0.0.1:1"), logs_dir=tmp_path)

    async def first_call(taken: int) -> int:
        choices = iter([taken, replica.free_port()])
        monkeypatch.setattr(replica, "free_port", lambda: next(choices, None) or free())
        pool = process.Pool(function, settings, lambda name, seconds: None)
        try:
            return (await pool.acquire(5)).port
        finally:
            await pool.stop()

    free = replica.free_port
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        port = asyncio.run(first_call(taken))

    assert port != taken
    assert not [record for record in caplog.records if record.message == "failing"]
    assert len((tmp_path / "notes").read_text().splitlines()) == 3  # started twice, stopped once


def test_functions_get_the_settings_and_not_the_gateways_password(start):
    """What the operator set wins over stack.yml; the operator's password stays here; the doorbell's address is made."""
    gateway = start(WORD="operator", GATEWAY_PASSWORD_FILE=str(ROOT / "stack.yml"))
    seen = gateway.client.get("/function/echo").json()["environment"]

    assert seen["WORD"] == "operator"
    assert seen["GATEWAY_URL"] == gateway.url
    assert "GATEWAY_PASSWORD_FILE" not in seen


def test_a_changed_stack_file_is_taken_over_without_a_lost_call(start):
    """SIGHUP replaces every process by one of the new stack file while calls go on; new functions appear."""
    gateway = start()
    old = gateway.client.get("/function/echo").json()
    codes, done = [], threading.Event()

    def keep_calling():
        while not done.is_set():
            codes.append(gateway.client.post("/function/echo").status_code)

    caller = threading.Thread(target=keep_calling)
    caller.start()
    gateway.write({"echo": {"environment": {"MAX_INFLIGHT": "8", "WORD": "changed"}}, "fresh": {}})
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.client.get("/function/echo").json()["environment"]["WORD"] == "changed", "the new word")
    until(lambda: gateway.notes("stop", pid=old["pid"]), "the end of the old process")
    done.set()
    caller.join()

    assert set(codes) == {200}
    assert gateway.client.get("/function/fresh").status_code == 200
    assert gateway.client.get("/function/pair").status_code == 404


def test_a_bad_stack_file_changes_nothing(start):
    """What cannot be read is refused with a line in the log, and the functions go on."""
    gateway = start()
    pid = gateway.client.get("/function/echo").json()["pid"]
    (gateway.folder / "stack.yml").write_text("functions: {echo: {lang: tiny}}")
    gateway.process.send_signal(signal.SIGHUP)
    refusal = until(lambda: [line for line in gateway.log() if line["event"] == "reload refused"], "a refusal")

    assert "handler is missing" in refusal[0]["reason"]
    assert gateway.client.get("/function/echo").json()["pid"] == pid


def test_sigterm_stops_everything_quickly(start):
    """An idle gateway ends with 0 within 3 s, its functions before it."""
    gateway = start()
    gateway.client.get("/function/echo")
    gateway.client.get("/function/pair")
    began = time.monotonic()

    assert gateway.stop() == 0
    assert time.monotonic() - began < 3
    assert gateway.replicas() == []
    assert len(gateway.notes("stop")) == 2


def test_sigterm_is_heard_at_any_time(start):
    """A gateway that is stopped while it still connects to Redis ends as quickly as any."""
    for _ in range(3):
        gateway = start()
        began = time.monotonic()

        assert gateway.stop() == 0
        assert time.monotonic() - began < 5


def test_sigterm_lets_calls_get_an_answer(start):
    """A call that runs when the gateway stops gets its function's last word; new connections are refused."""
    gateway = start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(gateway.client.post, "/function/echo/sleep/5")
        until(lambda: gateway.notes("begin", path="/sleep/5"), "the call")
        gateway.process.send_signal(signal.SIGTERM)
        answer = call.result(10)

    assert [answer.status_code, answer.json()["code"]] == [503, "shutting_down"]
    assert gateway.stop() == 0


def test_a_killed_gateway_leaves_no_functions(start):
    """kill -9 of the gateway takes its functions with it."""
    gateway = start()
    gateway.client.get("/function/echo")
    gateway.client.get("/function/pair")
    gateway.process.kill()
    gateway.process.wait(5)

    assert until(lambda: gateway.replicas() == [], "no process", within=3)


def test_a_deaf_function_is_killed_after_its_grace(start):
    """A function that does not end on SIGTERM is killed with its whole group."""
    gateway = start(GATEWAY_KILL_SECONDS="0.5")
    pid = gateway.client.get("/function/echo").json()["pid"]
    psutil.Process(pid).suspend()  # stopped processes do not hear SIGTERM
    began = time.monotonic()

    assert gateway.stop() == 0
    assert time.monotonic() - began < 3
    assert not psutil.pid_exists(pid)


def test_a_taken_port_is_one_sentence(tmp_path, gateway):
    """The gateway says which port is taken and what to do, and ends with 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {"GATEWAY_PORT": str(port), "REDIS_URL": "redis://127.0.0.1:1", "STACK_FILE": str(gateway.folder / "stack.yml")}
        ended = subprocess.run(
            [sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False
        )

    assert ended.returncode == 2
    sentence = f"gateway: cannot listen on 127.0.0.1:{port} (Address already in use); stop what uses it or set GATEWAY_PORT to another port"
    assert ended.stderr.splitlines() == [sentence]


def test_functions_write_their_own_logs(gateway):
    """What a function says ends up in its own file."""
    gateway.client.get("/function/echo/said-by-echo")

    assert until(lambda: "said-by-echo" in (gateway.folder / "logs" / "echo.log").read_text(), "a line")
