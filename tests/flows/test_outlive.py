"""A flow's process goes on when its runner, and with it the reader of its output, is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
import sys
from pathlib import Path
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from flows.outlive import outlive_runner

setup_logging()
if {outlives}:
    outlive_runner()
sys.stdin.readline()  # until nobody reads any more
for _ in range(3):
    get_logger("davy").warning("still here")
Path(sys.argv[1]).touch()
"""


@pytest.mark.parametrize("outlives", [True, False])
def test_a_log_line_that_nobody_reads_does_not_end_a_flow(tmp_path: Path, *, outlives: bool) -> None:
    end = tmp_path / "end"
    command = [sys.executable, "-c", FLOW.format(outlives=outlives), str(end)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes) as flow:
        assert flow.stdin
        assert flow.stdout
        flow.stdout.close()
        flow.stdin.write(b"go on\n")
        flow.stdin.close()
        flow.wait(120)  # its code tells nothing: Python's own last flush may fail, too
    assert end.exists() is outlives
