"""Put a card into a detector or segmenter, by a protocol, and prove that it is in."""

__all__ = ["certificate", "holdout", "plug", "protocols"]
