"""The command line. Exit status 0: done; 1: relevance is not conserved (``check``); 2: bad input, and one line that says what."""

from graphlrp.cli.group import main

__all__ = ["main"]
