"""Hold the command-line tools of the project."""
