"""Read study files, derive the runs that a study needs, and collect their results."""

__all__ = [
    "about",
    "arguments",
    "collect",
    "commands",
    "given_cards",
    "graph",
    "lr_search",
    "merging",
    "node",
    "published_weights",
    "status",
    "study",
]
