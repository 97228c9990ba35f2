"""The public names of the library: adding one, or taking one away, is a decision and changes this file."""

from __future__ import annotations

from types import ModuleType

import pytest

import dedup
import dedup.aio
import dedup.celery

DEDUP = """
Answer Attempted Breaker BreakerRules Candle CandleCache CandleCheck CandleDetector CandleRules Circuit CircuitState
Claimed DedupError DedupOptions Delivery DeliveryOptions DoneAnswers Fallback FallbackStore HttpDelivery InvalidBars
InvalidCandle InvalidInput InvalidInstrument InvalidSetting InvalidSignal InvalidTimeframe LocalStats LocalStore
MemoryStore Message OnUnknown Peeked Publication Published Record RedisStore Resolution Settled Signal
SignalPublishCache SignalPublisher SignalRules SourceError State Store StoreDenied StoreError StoreRefused
StoreUnavailable StoredRecord
StrategyError Timeframe TryAgain Verdict close_caches configure configured connect get_candle_cache
get_signal_publish_cache initialize_caches new_token publication_of signal_id
"""
AIO = """
CandleCache CandleDetector Delivery FallbackStore HttpDelivery LocalStore MemoryStore RedisStore SignalPublishCache
SignalPublisher Store close_caches connect get_candle_cache get_signal_publish_cache initialize_caches
"""
CELERY = """
NotRun Once OnceClaim OnceTask TaskBusy TaskDuplicate TaskGivenUp TaskHeld
"""
SURFACES = [(dedup, DEDUP), (dedup.aio, AIO), (dedup.celery, CELERY)]


@pytest.mark.parametrize(("module", "names"), SURFACES, ids=["dedup", "dedup.aio", "dedup.celery"])
def test_public_names_are_locked(module: ModuleType, names: str) -> None:
    """The module exports exactly these names."""
    assert module.__all__ == sorted(names.split())


@pytest.mark.parametrize("module", [dedup, dedup.aio, dedup.celery], ids=["dedup", "dedup.aio", "dedup.celery"])
def test_exported_members_are_declared(module: ModuleType) -> None:
    """Whatever can be got at without an underscore, beside the module's own parts, is declared in ``__all__``."""
    there = [
        name for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert sorted(there) == sorted(module.__all__)


@pytest.mark.parametrize("module", [dedup, dedup.aio, dedup.celery], ids=["dedup", "dedup.aio", "dedup.celery"])
def test_public_names_are_documented(module: ModuleType) -> None:
    """Every public name says what it is."""
    undocumented = [name for name in module.__all__ if not (getattr(module, name).__doc__ or "").strip()]
    assert undocumented == []
