"""Every error that this distribution raises, in one tree.

::

    DedupError
    ├── InvalidInput (also a ValueError)   refused before anything is claimed
    │   ├── InvalidTimeframe               not `<int><s|m|h|d|w>`
    │   ├── InvalidInstrument              empty, too long, or able to forge a key
    │   ├── InvalidCandle                  naive, unaligned or future start
    │   ├── InvalidSignal                  prices, side, confidence or fields do not fit together
    │   ├── InvalidBars                    bars out of order, duplicated, NaN, non-positive, high below low
    │   └── InvalidSetting                 a setting that is malformed or breaks the protocol
    ├── StoreError                         the store gave no usable answer; nothing may be assumed
    │   ├── StoreUnavailable               unreachable, timed out, loading: try again later
    │   └── StoreRefused                   read-only, out of memory, disk full: someone must act
    │       └── StoreDenied                wrong password, missing permission: waiting changes nothing
    ├── SourceError                        the feed gave no usable bars; trying again may help
    ├── StrategyError                      the strategy raised or returned rubbish
    ├── NotRun                             a delivery of a Celery task did not do its work (`dedup.celery`)
    │   ├── TaskDuplicate                  it was done before
    │   ├── TaskBusy                       another delivery is at it
    │   ├── TaskHeld                       nobody knows whether it was done; a person decides
    │   └── TaskGivenUp                    it has killed its workers too often
    └── TryAgain                           no failure: the work is due again later; the message says why

An `InvalidInput` carries what was wrong, the value and the remedy. Every error survives pickling, because Celery sends
errors through its result backend: each keeps its constructor's arguments in `args`.
"""

from __future__ import annotations


class DedupError(Exception):
    """Root of the tree."""


class InvalidInput(DedupError, ValueError):
    """A value that was refused before anything was claimed.

    Args:
        what: name of the setting, field or argument.
        value: the value as it was given, or a description of it where it is a secret.
        remedy: what to write instead.
    """

    def __init__(self, what: str, value: object, remedy: str) -> None:
        # Values reach results, logs and other processes: keep a printable form, never the object.
        self.what, self.value, self.remedy = what, value if isinstance(value, str) else repr(value), remedy
        super().__init__(what, self.value, remedy)

    def __str__(self) -> str:
        return f"{self.what} = {self.value!r}: {self.remedy}"


class InvalidTimeframe(InvalidInput):
    """Not `<int><s|m|h|d|w>`."""


class InvalidInstrument(InvalidInput):
    """An instrument that is empty, too long, or that could forge a key."""


class InvalidCandle(InvalidInput):
    """A candle start that is naive, unaligned or not closed yet."""


class InvalidSignal(InvalidInput):
    """A signal whose fields do not fit together."""


class InvalidBars(InvalidInput):
    """Bars that no strategy should see."""


class InvalidSetting(InvalidInput):
    """A setting that is malformed, or that breaks the protocol."""


class StoreError(DedupError):
    """The store gave no usable answer, so nothing may be assumed about the record."""


class StoreUnavailable(StoreError):
    """The store is unreachable, too slow or loading. Trying again later is right."""


class StoreRefused(StoreError):
    """The store is there and says no. Someone has to act; the message says how."""


class StoreDenied(StoreRefused):
    """The store does not let this user in, or not do this. Only other credentials or permissions help."""


class SourceError(DedupError):
    """The feed could not be read, or what it said could not be understood."""


class StrategyError(DedupError):
    """The strategy raised, or returned something that is no order."""


class NotRun(DedupError):
    """A delivery of a Celery task did not do its work. The message names the key and what to do."""


class TaskDuplicate(NotRun):
    """The work was done before."""


class TaskBusy(NotRun):
    """Another delivery is at the work."""


class TaskHeld(NotRun):
    """Nobody knows whether the work's effect happened. A person decides."""


class TaskGivenUp(NotRun):
    """The work has killed its workers as often as it may."""


class TryAgain(DedupError):
    """No failure: the work is due again later, and the message says why. Celery shows it beside RETRY."""
