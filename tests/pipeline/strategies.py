"""Strategies that the watchlists of these tests name: well behaved, wrong, and deadly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from tasks.bars import Bar
from tasks.strategies.protocol import Order


def always_buy(bars: Sequence[Bar]) -> Order:
    """A signal for every candle."""
    return Order("buy", Decimal(str(bars[-1].close)))


def never(bars: Sequence[Bar]) -> None:
    """No signal for any candle."""


def raises(bars: Sequence[Bar]) -> Order:
    """A mistake in the strategy."""
    raise ZeroDivisionError("no volume to divide by")


def kills_its_worker(bars: Sequence[Bar]) -> Order:
    """What a crash in C code or the kernel's OOM killer does to a pool process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def hangs(bars: Sequence[Bar]) -> Order:
    """Does not end, not even for the soft time limit."""
    while True:
        try:
            time.sleep(3600)
        except Exception:
            continue


def sleeps(bars: Sequence[Bar]) -> Order:
    """Does not end, but for the soft time limit."""
    time.sleep(3600)
    raise AssertionError("not reached")


def waits_for_file(bars: Sequence[Bar], path: str) -> Order:
    """Goes on once a file exists: a test decides when."""
    while not Path(path).exists():
        time.sleep(0.01)
    return always_buy(bars)


def kills_its_whole_worker(bars: Sequence[Bar]) -> Order:
    """What takes the machine down does to every process of a worker."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
    raise AssertionError("not reached")
