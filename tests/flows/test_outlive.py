"""A flow's process goes on when its runner, and with it the reader of its output, is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

FLOW = """
import sys
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from flows.outlive import outlive_runner

setup_logging()
if {outlives}:
    outlive_runner()
sys.stdin.readline()  # until nobody reads any more
for _ in range(3):
    get_logger("davy").warning("still here")
"""


@pytest.mark.parametrize("outlives", [True, False])
def test_a_log_line_that_nobody_reads_does_not_end_a_flow(*, outlives: bool) -> None:
    command = [sys.executable, "-c", FLOW.format(outlives=outlives)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes) as flow:
        assert flow.stdin
        assert flow.stdout
        flow.stdout.close()
        flow.stdin.write(b"go on\n")
        flow.stdin.close()
        code = flow.wait(120)
    assert (code == 0) is outlives
