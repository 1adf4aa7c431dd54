"""`python -m toughen` is the command `toughen`."""

import sys
from pathlib import Path

from toughen.cli import main

if __name__ == "__main__":
    if sys.path[:1] == [str(Path.cwd())]:
        # Python puts the working folder first here, where a file of a stranger would stand in for a library.
        del sys.path[0]
    sys.exit(main())
