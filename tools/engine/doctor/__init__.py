"""Checks of the installation and of this machine."""

__all__ = ["checks", "selftest"]
