"""With this folder on PYTHONPATH, `import cupy` gives the stand-in: for processes that tests start."""

import sys

from tests.support.fake_cupy import _module

sys.modules["cupy"] = _module
