"""``python -m fumehood``: the command line, where its script is not on the path."""

from fumehood.cli import main

main()
