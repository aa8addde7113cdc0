"""``python -m graphlrp`` is the command line."""

from graphlrp.cli import main

main(prog_name="graphlrp")
