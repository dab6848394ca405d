"""Token buckets of keys and addresses."""

import pytest

from eml.serving.key_rates import TokenBuckets, client_name


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_ten_seconds_worth_at_once_and_then_its_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock=clock)
    assert [buckets.take("a", 60) for _ in range(10)] == [0.0] * 10
    assert buckets.take("a", 60) == pytest.approx(1.0)  # a second for the next
    clock.now = 0.5
    assert buckets.take("a", 60) == pytest.approx(0.5)
    clock.now = 1.0
    assert buckets.take("a", 60) == 0.0
    assert buckets.take("a", 60) == pytest.approx(1.0)
    clock.now = 1000.0
    assert [buckets.take("a", 60) for _ in range(11)].count(0.0) == 10  # it never holds more


def test_over_minutes_the_rate_is_kept_whatever_the_client_does() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock=clock)
    allowed = 0
    for step in range(60_000):  # ten minutes, a request each hundredth of a second
        clock.now = step / 100
        allowed += buckets.take("a", 30) == 0.0
    assert allowed == pytest.approx(300 + 5, abs=1)


def test_names_do_not_share_a_bucket_and_a_slow_rate_allows_one_request() -> None:
    buckets = TokenBuckets(clock=Clock())
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == pytest.approx(120)
    assert buckets.take("b", 0.5) == 0.0


def test_only_the_latest_buckets_are_remembered() -> None:
    buckets = TokenBuckets(most=100, clock=Clock())
    for number in range(10_000):
        buckets.take(f"{number}", 1)
        buckets.take("steady", 1)
    assert len(buckets) == 100
    assert buckets.take("steady", 1) > 0  # one that asks all the time is not forgotten


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"), (None, "local"), ("", "local"), ("a socket", "local"),
    ],
)  # fmt: skip
def test_a_client_is_known_by_its_address_or_its_network(address: str | None, name: str) -> None:
    assert client_name(address) == name
