"""Put the backbone of a card into a detector or segmenter, by a protocol, and certify that its weights are in place."""

__all__ = ["certificate", "holdout", "load_image", "plug", "protocols"]
