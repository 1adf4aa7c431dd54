"""What the tests of this folder share lies beside them: mutations of files, and the readers that they are given to."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
