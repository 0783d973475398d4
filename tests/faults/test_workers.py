"""Workers that die, sleep or are asked to leave."""

import signal
import threading

import httpx
import pytest

from tests.faults.conftest import FRAMES
from tests.faults.world import POINTS, gone, media_processes


def succeeded(world, job, attempt):
    """The job ended well, by this attempt, and nothing that must hold is broken."""
    ended = world.ended(job)
    assert (ended.state, ended.error) == ("succeeded", None)
    assert ended.attempt == attempt
    assert ended.result["frames"] == FRAMES
    assert ended.result["key"].split("/")[2] == str(attempt)
    assert world.violations() == []


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_loses_no_job(point, world, request_body):
    """kill -9 at any point: the media process dies with its worker within a second, and another worker does the job once.

    What the store was asked for by the dead one still happens, later: an object of attempt 1, which the sweep finds.
    """
    first = world.worker()
    gate = world.gate(point)
    job = world.submit(first, request_body)
    gate.reached()
    children = media_processes(first)
    first.kill()
    gate.open()

    assert children
    assert gone(children, 1.0)
    if point == "storing":
        world.until(world.results, "the late object")
    world.worker()
    with world.reaper():
        succeeded(world, job, attempt=2)
    assert [key.split("/")[2] for key in world.results()] == ["2"]


def test_a_worker_that_slept_past_its_lease_changes_nothing(world, request_body):
    """SIGSTOP past the lease, then SIGCONT: the sleeper's attempt neither finishes the job nor leaves its object."""
    first = world.worker()
    gate = world.gate("encoding")
    job = world.submit(first, request_body)
    gate.reached()
    first.signal(signal.SIGSTOP)
    gate.open()
    world.queue.workers.remove(first)
    world.worker()
    with world.reaper():
        world.until(lambda: world.job(job).attempt == 2, "a second attempt")
        first.signal(signal.SIGCONT)
        succeeded(world, job, attempt=2)
    world.until(
        lambda: not [p for p in media_processes(first) if "worker" in " ".join(p.cmdline()) and p.cpu_percent(0.2) > 50], "its end", 10
    )

    assert [key.split("/")[2] for key in world.results()] == ["2"]


def test_a_worker_that_wakes_up_to_finish_is_refused(world, request_body):
    """SIGSTOP while the result is stored, SIGCONT while another attempt works: the sleeper's finish is refused, its object removed."""
    # It does not look whether it is still wanted before it finishes; its first lease outlasts the little it has to encode.
    first, gate = world.worker(CANCEL_POLL_SECONDS="60", LEASE_SECONDS="8"), world.gate("storing")
    job = world.submit(first, {**request_body, "start": "10", "end": "12"})
    gate.reached()
    first.signal(signal.SIGSTOP)
    gate.open()
    world.queue.workers.remove(first)
    gate = world.gate("probing")
    world.worker()
    with world.reaper():
        gate.reached()
        first.signal(signal.SIGCONT)
        world.until(lambda: "stale attempt" in first.log(), "the end of the sleeper's attempt")
        between = world.job(job)
        objects = world.results()
        gate.open()
        ended = world.ended(job)

    assert (between.state, between.attempt, objects) == ("running", 2, [])
    assert (ended.state, ended.attempt, ended.result["frames"]) == ("succeeded", 2, 60)
    assert world.violations() == []


def test_sigterm_hands_the_job_back(world, request_body):
    """SIGTERM: the lease is given back within two seconds and counts as no loss; another worker goes on at once."""
    first = world.worker()
    gate = world.gate("encoding")
    job = world.submit(first, request_body)
    gate.reached()
    second = world.worker()
    children = media_processes(first)
    first.signal(signal.SIGTERM)
    assert children
    assert gone(children, 2.5)
    gate.open()

    world.until(lambda: world.job(job).attempt == 2, "the second worker's claim", 4)
    assert first.process.wait(5) == 0
    assert second.process.poll() is None
    succeeded(world, job, attempt=2)
    assert world.job(job).lost == 0


def test_a_poisonous_job_ends(world, request_body):
    """A job that takes three workers with it is not given a fourth: failed, worker_lost."""
    with world.reaper():
        worker, gate = world.worker(), world.gate("encoding")
        job = world.submit(worker, request_body)
        for attempt in (1, 2, 3):
            gate.reached()
            assert world.job(job).attempt == attempt
            worker.kill()
            gate.open()
            gate = world.gate("encoding")
            worker = world.worker()
        ended = world.ended(job)

    assert (ended.state, ended.error["code"], ended.lost) == ("failed", "worker_lost", 3)
    assert world.violations() == []


def test_twenty_deliveries_are_one_job(world, request_body):
    """A queue that delivers twenty times at once, and twenty times late, has the work done once."""
    worker = world.worker(MAX_INFLIGHT="30")
    world.queue.copies = 20
    job = world.submit(worker, request_body)
    succeeded(world, job, attempt=1)
    for _ in range(20):
        assert httpx.post(worker.url, json={"job": job}, timeout=10).json() == {"job": job}

    assert world.job(job).attempt == 1
    assert len(world.results()) == 1


def test_lost_rings_are_found(world, request_body):
    """A queue that loses every message loses no job: the reaper rings again."""
    worker = world.worker()
    world.queue.deaf = True
    job = world.submit(worker, request_body)
    world.queue.deaf = False
    with world.reaper():
        succeeded(world, job, attempt=1)


def test_a_client_that_leaves_does_not_stop_its_job(world, request_body):
    """A client that hangs up after half a second finds its job done under the same key."""
    worker = world.worker()
    with pytest.raises(httpx.ReadTimeout):
        world.post(worker, request_body, timeout=0.5, Idempotency_Key="mine")
    answer = world.post(worker, request_body, Idempotency_Key="mine")

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["attempt"], answer.json()["result"]["frames"]) == ("succeeded", 1, FRAMES)
    assert world.violations() == []


def test_one_key_is_one_job(world, request_body):
    """The same Idempotency-Key twenty times at once is one job; with another request it is refused."""
    worker = world.worker(MAX_INFLIGHT="30")
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(world.submit(worker, request_body, Idempotency_Key="mine"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other = world.post(worker, {**request_body, "end": "9"}, Idempotency_Key="mine")

    assert len(answers) == 20
    assert len(set(answers)) == 1
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert world.services.jobs.cancel("tester", answers[0])
    assert world.ended(answers[0]).state == "cancelled"
    assert world.violations() == []


@pytest.mark.parametrize("point", POINTS)
def test_cancel_ends_the_work_within_a_second(point, world, request_body):
    """Cancel at any point: the media process is dead within a second, the job is cancelled and stays so, and nothing is stored."""
    worker = world.worker()
    gate = world.gate(point)
    job = world.submit(worker, request_body)
    gate.reached()
    children = media_processes(worker)
    world.services.jobs.cancel("tester", job)

    if point != "storing":  # then there is no media work any more
        assert children
        assert gone(children, 1.0)
    gate.open()
    ended = world.ended(job)
    assert ended.state == "cancelled"
    assert ended.result is None
    world.until(lambda: not world.results(), "the end of the object that nobody wants", 5)
    assert world.violations() == []


def test_a_waiting_job_is_cancelled_at_once(world, request_body):
    """A job that nobody has begun is cancelled in the moment, and a late ring does not wake it."""
    worker = world.worker()
    world.queue.deaf = True
    job = world.submit(worker, request_body)
    world.services.jobs.cancel("tester", job)

    assert world.job(job).state == "cancelled"
    httpx.post(worker.url, json={"job": job}, timeout=10)
    assert (world.job(job).state, world.job(job).attempt) == ("cancelled", 0)
    assert world.violations() == []
