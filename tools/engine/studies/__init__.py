"""Which runs a study needs, and which are done."""

__all__ = ["arguments", "collect", "commands", "graph", "lr_search", "node", "published_weights", "study"]
