"""The application as an ASGI server gets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc
from server.main import app_factory
assert gc.get_freeze_count() == 0
app = app_factory()
print(type(app).__mro__[1].__name__, gc.get_freeze_count() > len(gc.get_objects()))
"""


def test_what_is_there_when_it_starts_is_left_out_of_later_collections(tmp_path: Path) -> None:
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | nowhere | {"TALLYSTICK_DATA_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stdout, run.stderr) == ("FastAPI True\n", "")
