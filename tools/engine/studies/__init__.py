"""Read study files, derive the runs that a study needs, and collect their results."""

__all__ = ["arguments", "collect", "commands", "graph", "lr_search", "node", "published_weights", "study"]
