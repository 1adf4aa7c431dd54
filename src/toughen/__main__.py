"""`python -m toughen` is the command `toughen`."""

import sys

from toughen.cli import main

if __name__ == "__main__":
    sys.exit(main())
