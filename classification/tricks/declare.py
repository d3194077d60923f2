"""How a trick says what it sets."""

from collections.abc import Callable


def trick(sets: tuple[str, ...], group: str = "") -> Callable:
    """Marks a function of the catalogue.

    Args:
        sets: the config keys (dotted; a key stands for all below it) that the trick may change, and no others.
        group: tricks of one group exclude each other.
    """

    def mark(function: Callable) -> Callable:
        function.sets, function.group = sets, group
        return function

    return mark
