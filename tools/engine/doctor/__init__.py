"""Check the installation and this machine."""

__all__ = ["checks", "selftest"]
