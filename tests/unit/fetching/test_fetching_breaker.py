from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import FetchFailed, HostUnavailable, ImageNotFound
from moderator.fetching.breaker import MAX_HOSTS, Breakers

HOST = "https://images.example"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(3, 30.0, clock)


def call(breakers: Breakers, error: Exception | None = None, host: str = HOST) -> None:
    with breakers.watch(host):
        if error is not None:
            raise error


def fail(breakers: Breakers, times: int = 1, host: str = HOST) -> None:
    for _ in range(times):
        with pytest.raises(FetchFailed, match="503"):
            call(breakers, FetchFailed("503"), host)


def refused(breakers: Breakers, host: str = HOST) -> float:
    with pytest.raises(HostUnavailable) as error:
        call(breakers, host=host)
    return error.value.retry_after


def test_a_host_that_fails_all_the_time_is_left_alone(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    assert refused(breakers) == 30.0
    clock.now += 20
    assert refused(breakers) == 10.0
    assert breakers.count_open() == 1


def test_others_are_not_concerned(breakers: Breakers) -> None:
    fail(breakers, 3)
    call(breakers, host="https://other.example")
    call(breakers, host=HOST + ":8443")


def test_a_success_in_between_starts_the_count_again(breakers: Breakers) -> None:
    fail(breakers, 2)
    call(breakers)
    fail(breakers, 2)
    call(breakers)
    assert breakers.count_open() == 0


def test_an_answer_shows_that_the_host_lives_whatever_it_says(breakers: Breakers) -> None:
    fail(breakers, 2)
    with pytest.raises(ImageNotFound):
        call(breakers, ImageNotFound("404"))
    fail(breakers, 2)
    call(breakers)


def test_a_failure_may_be_told_without_an_error(breakers: Breakers) -> None:
    for _ in range(3):
        with breakers.watch(HOST) as outcome:
            outcome.failed = True
    refused(breakers)


def test_a_probe_that_succeeds_lets_all_call_again(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now += 30
    assert breakers.count_open() == 0
    call(breakers)
    call(breakers)
    fail(breakers, 2)
    call(breakers)


def test_a_probe_that_fails_leaves_it_alone_once_more(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now += 30
    fail(breakers)
    assert refused(breakers) == 30.0


def test_one_call_alone_probes(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now += 30
    inside, done = Event(), Event()

    def probe() -> None:
        with breakers.watch(HOST):
            inside.set()
            assert done.wait(10)

    thread = Thread(target=probe)
    thread.start()
    assert inside.wait(10)
    assert refused(breakers) == 1.0
    assert breakers.count_open() == 1
    done.set()
    thread.join()
    call(breakers)


def test_calls_from_before_it_opened_change_nothing(breakers: Breakers, clock: Clock) -> None:
    late = breakers.watch(HOST)
    late.__enter__()
    fail(breakers, 3)
    clock.now += 20
    late.__exit__(FetchFailed, FetchFailed("timeout"), None)
    assert refused(breakers) == 10.0


def test_without_a_number_nothing_opens() -> None:
    breakers = Breakers()
    fail(breakers, 100)
    call(breakers)


@given(hosts=st.lists(st.integers(0, 3 * MAX_HOSTS), min_size=1, max_size=50))
def test_strangers_hosts_take_bounded_memory(hosts: list[int]) -> None:
    breakers = Breakers(1, 30.0)
    for host in range(MAX_HOSTS):
        fail(breakers, host=f"http://{host}")
    for host in hosts:
        with pytest.raises(FetchFailed):
            call(breakers, FetchFailed("503"), f"http://{host}")
    assert breakers.count_open() <= MAX_HOSTS
    refused(breakers, f"http://{hosts[-1]}")
