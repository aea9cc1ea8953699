"""``tandem demo``: the whole of Tandem against the emulator, with faults, judged from the emulator's ledger."""

from tandem.demo.options import DemoOptions
from tandem.demo.run import main

__all__ = ["DemoOptions", "main"]
