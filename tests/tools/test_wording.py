"""Test the words of durations, numbers and names on a terminal."""

import pytest

from tools.engine.wording import counted, duration, number, shortened


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3000, "50 min"), (5400, "1.5 h"), (47 * 3600, "47.0 h"), (180_000, "2.1 days")],
)
def test_a_duration_has_the_unit_of_its_size(seconds, text):
    assert duration(seconds) == text


def test_one_thing_is_no_plural():
    assert (counted(1, "run"), counted(0, "run"), counted(2, "run")) == ("1 run", "0 runs", "2 runs")


@pytest.mark.parametrize(
    ("value", "text"), [(0.51234, "0.5123"), (2.0, "2.000"), (55.123, "55.12"), (12345.6, "12346"), (1e-7, "1.000e-07")]
)
def test_a_number_has_four_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize("width", range(1, 12))
def test_a_long_name_loses_its_middle(width):
    text = shortened("abcdefghij", width)
    assert len(text) == min(width, 10)
    begin, _, end = text.partition("…")
    assert "abcdefghij".startswith(begin) and "abcdefghij".endswith(end)
