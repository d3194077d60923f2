"""Test how a trick with options is typed on the command line, and read back from a record."""

import numpy as np
import pytest

from classification import TRICKS
from classification.tricks import format_trick, parse_trick
from tests.helpers.tricks import DEFAULTS, TEACHER


@pytest.mark.parametrize(
    ("text", "trick"),
    [
        ("cosine", "cosine"),
        ("label_smoothing:eps=0.2,form=uniform", ("label_smoothing", {"eps": 0.2, "form": "uniform"})),
        ("large_batch:factor=2", ("large_batch", {"factor": 2})),
        (f"distillation:teacher={TEACHER},temperature=4.0", ("distillation", {"teacher": TEACHER, "temperature": 4.0})),
        ("x:a=true,b=False,c=1e-3,d=-4,e=a/b=c", ("x", {"a": True, "b": False, "c": 1e-3, "d": -4, "e": "a/b=c"})),
    ],
)
def test_a_typed_trick_is_parsed_and_formatted_back(text, trick):
    parsed = parse_trick(text)
    assert parsed == trick
    if not isinstance(trick, str):
        assert [type(v) for v in parsed[1].values()] == [type(v) for v in trick[1].values()]
    assert parse_trick(format_trick(parsed)) == parsed


@pytest.mark.parametrize("name", TRICKS)
def test_a_recorded_trick_is_read_as_it_was_written(name):
    options = DEFAULTS.get(name, {})
    assert parse_trick(format_trick([name, options])) == ((name, options) if options else name)
    assert format_trick(parse_trick(name)) == name


def test_every_number_is_read_as_it_was_written():
    rng = np.random.default_rng(0)
    for value in [*(10.0 ** rng.uniform(-9, 9, 50)).tolist(), *rng.integers(-(10**9), 10**9, 50).tolist(), True, False]:
        name, options = parse_trick(format_trick(("x", {"a": value})))
        assert options == {"a": value} and type(options["a"]) is type(value)


@pytest.mark.parametrize("text", ["cosine:fast", "cosine:=1", "label_smoothing:eps=0.1,,form=paper"])
def test_a_trick_typed_wrong_is_refused(text):
    with pytest.raises(ValueError, match="is not of the form name:option=value,option=value"):
        parse_trick(text)
