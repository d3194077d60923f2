"""Find a study's folder, name its files, declare what may stand in them, read and write them."""

__all__ = ["files", "names", "schema"]
