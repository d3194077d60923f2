"""Name the files in a study's folder, declare what may stand in them, read and write them."""

__all__ = ["files", "schema"]
