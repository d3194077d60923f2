"""The stages of ``tools/benchmark.py``, a module each, with ``comparisons(settings)``; a new stage is a new module."""
