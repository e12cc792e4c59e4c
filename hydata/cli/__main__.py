"""``python -m hydata.cli``: the command line where no ``hydata`` is on the path."""

from hydata.cli import main

main()
