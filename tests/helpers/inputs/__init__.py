"""Hold the table of inputs that a person may give to the tools, right and wrong, and the answer that each must get.

``rows`` declares a row and derives the wrong inputs of a schema from its types, ``calls`` gives an input to a tool, and and
each other module is a part of the table. ``tests/tools/test_inputs.py`` tries every row.
"""
