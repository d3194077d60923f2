"""Define the stages of ``tools/benchmark.py``: one module with ``comparisons(settings)`` for each stage."""
