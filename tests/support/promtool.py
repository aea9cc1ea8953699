"""Prometheus' own checker of rules and metrics."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def check(*arguments: str, given: str = "") -> tuple[int, str, str]:
    """Run promtool; return its exit code, standard output and standard error.

    Without it the test is skipped, in CI it fails: there nobody would notice a skip.
    """
    found = shutil.which("promtool")
    if found is None:
        reason = "promtool is not on PATH: install the package prometheus, or Prometheus' own release"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run([found, *arguments], input=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr
