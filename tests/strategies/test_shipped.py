"""The strategies that come with the package."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walking import INSTRUMENTS, bars_of, decide, recorded

from dedup.errors import InvalidSetting, StrategyError
from tasks.strategies import EmaCross, Order, RsiReversal, Strategy, evaluate, make_strategy
from tasks.strategies.ema_cross import crossing

FALL_THEN_RISE = [*np.linspace(120, 100, 40), *np.linspace(100.5, 110, 12)]
QUICK_EMA = EmaCross(fast=3, slow=8)
QUICK_RSI = RsiReversal(period=5)
QUICK: tuple[Strategy, ...] = (QUICK_EMA, QUICK_RSI)


def orders_along(strategy: Strategy, closes: list[float], reach: float = 0.5) -> dict[int, Order]:
    """What the strategy does at each bar of a walk."""
    steps = range(strategy.warmup, len(closes) + 1)
    found = {end - 1: decide(strategy, closes[:end], reach) for end in steps}
    return {at: order for at, order in found.items() if order is not None}


def mirrored(closes: list[float]) -> list[float]:
    return [220.0 - close for close in closes]


@pytest.mark.parametrize("strategy", QUICK, ids=["ema_cross", "rsi"])
def test_a_turn_is_signalled_once_and_its_mirror_the_other_way(strategy: Strategy) -> None:
    """A fall that turns into a rise is bought once; the same upside down is sold at the same bar, as confidently."""
    walk = [float(close) for close in FALL_THEN_RISE]
    [(bought_at, bought)] = orders_along(strategy, walk).items()
    [(sold_at, sold)] = orders_along(strategy, mirrored(walk)).items()
    assert sold.confidence == pytest.approx(bought.confidence, abs=1e-4)
    assert bought_at == sold_at >= 40
    assert (bought.side, sold.side) == ("buy", "sell")


def test_ema_cross_is_the_first_bar_on_the_other_side() -> None:
    """The bar that is signalled is the one at which the sign of fast minus slow changes, by plain arithmetic."""
    walk = [float(close) for close in FALL_THEN_RISE]

    def ema(values: list[float], period: int) -> float:
        average = sum(values[:period]) / period
        for value in values[period:]:
            average += (value - average) * 2 / (period + 1)
        return average

    def distance(end: int) -> float:
        seen = walk[end - QUICK_EMA.warmup : end]
        return ema(seen, 3) - ema(seen, 8)

    ends = [end for end in range(QUICK_EMA.warmup + 1, len(walk) + 1) if distance(end - 1) < 0 < distance(end)]
    assert list(orders_along(QUICK_EMA, walk)) == [end - 1 for end in ends]


def test_averages_that_touch_and_part_again_have_not_crossed() -> None:
    """Only the side before the touch counts: back to it is no signal, on to the other side is one."""
    assert crossing(np.array([1.0, 0.0, 1.0])) == 0
    assert crossing(np.array([-1.0, 0.0, 0.0, 1.0])) == 1
    assert crossing(np.array([1.0, 0.0, -1.0])) == -1
    assert crossing(np.array([0.0, 0.0, 1.0])) == 0
    assert crossing(np.array([-1.0, 1.0, 0.0])) == 0


@pytest.mark.parametrize("price", [0.1, 1.1, 33.333333, 1e5 / 3])
@pytest.mark.parametrize("strategy", QUICK, ids=["ema_cross", "rsi"])
def test_a_market_that_stands_still_gives_no_signal(strategy: Strategy, price: float) -> None:
    """Equal closes never cross by rounding, and an index without any movement is not an extreme."""
    still = replace(strategy, tick="0.00001")  # type: ignore[type-var]
    assert orders_along(still, [price] * 80, price / 10) == {}
    assert orders_along(still, [price] * (still.warmup - 1) + [price * 1.02], price / 10) == {}


def test_rsi_comes_back_over_the_level() -> None:
    """Being beyond a level is no signal; coming back from there is, and only at that bar."""
    strategy = RsiReversal(period=2, low=30, high=70, atr_period=2)
    falling = [100.0, 101.0] * 8 + [99.0, 97.0, 95.0]
    assert decide(strategy, falling) is None
    bought = decide(strategy, [*falling, 98.0])
    assert bought is not None
    assert bought.side == "buy"
    assert decide(strategy, [*falling, 98.0, 98.1]) is None


def test_rsi_confidence_grows_with_the_excursion() -> None:
    """The deeper the index has been below its level just before, the closer to 1 the confidence is."""
    strategy = RsiReversal(period=4, low=40, high=60, atr_period=4)
    base = [100.0, 100.6] * 20
    shallow, deep = decide(strategy, [*base, 99.6, 101.0]), decide(strategy, [*base, 97.0, 94.0, 101.0])
    assert shallow is not None
    assert deep is not None
    assert 0.5 <= shallow.confidence < deep.confidence <= 1


def test_ema_confidence_grows_with_the_move() -> None:
    """The harder the crossing bar drives the averages apart, the closer to 1 the confidence is."""
    fall = [float(close) for close in np.linspace(120, 100, 40)]
    weak, strong = decide(QUICK_EMA, [*fall, 106.0]), decide(QUICK_EMA, [*fall, 118.0])
    assert weak is not None
    assert strong is not None
    assert 0 < weak.confidence < strong.confidence < 1


def test_rsi_confidence_forgets_earlier_excursions() -> None:
    """Only the excursion that has just ended counts, however deep one before it was."""
    strategy = RsiReversal(period=4, low=40, high=60, atr_period=4, lookback=60)
    calm = [100.0, 100.6] * 20
    plain = decide(strategy, [*calm, *calm, 99.6, 101.0])
    after_a_crash = decide(strategy, [*calm, 90.0, 80.0, *calm[:40], 99.6, 101.0])
    assert plain is not None
    assert after_a_crash is not None
    assert after_a_crash.confidence == pytest.approx(plain.confidence, abs=0.01)


def test_ema_confidence_is_a_half_for_a_close_one_average_true_range_away() -> None:
    """A close one average true range away from averages that lie together gives a confidence of one half."""
    strategy = EmaCross(fast=5, slow=13, atr_period=1)
    order = decide(strategy, [*np.linspace(100.001, 100, 60), 103.0], reach=0.0)
    assert order is not None
    assert order.confidence == pytest.approx(0.5, abs=0.001)


def test_stops_lie_so_many_average_true_ranges_away() -> None:
    """Stop and target keep their distances in ATR from the entry, each a multiple of the tick."""
    walk = [float(close) for close in FALL_THEN_RISE]
    strategy = EmaCross(fast=3, slow=8, sl_atr=1.5, tp_atr=4, tick="0.05")
    [order] = orders_along(strategy, walk).values()
    atr = order.payload["atr"]
    assert order.stop_loss is not None
    assert order.take_profit is not None
    assert float(order.price - order.stop_loss) == pytest.approx(1.5 * atr, abs=0.026)
    assert float(order.take_profit - order.price) == pytest.approx(4 * atr, abs=0.026)
    assert {price % Decimal("0.05") for price in (order.price, order.stop_loss, order.take_profit)} == {0}


@pytest.mark.parametrize(("sl", "tp"), [(0, 0), (0, 3), (2, 0)])
def test_stops_can_be_left_out(sl: float, tp: float) -> None:
    """A distance of 0 leaves the stop or the target out."""
    walk = [float(close) for close in FALL_THEN_RISE]
    [order] = orders_along(EmaCross(fast=3, slow=8, sl_atr=sl, tp_atr=tp), walk).values()
    assert (order.stop_loss is None, order.take_profit is None) == (sl == 0, tp == 0)


@pytest.mark.parametrize(
    ("tick", "price"),
    [
        ("0.01", "26.86"),
        (0.01, "26.86"),
        ("0.25", "26.75"),
        ("1", "27"),
        (1, "27"),
        (2.5, "27.5"),
        ("1E+1", "30"),
        ("0.0001", "26.8600"),
    ],
)
def test_prices_are_multiples_of_the_tick(tick: str | float, price: str) -> None:
    """The entry is the close rounded to the tick and written with its digits."""
    strategy = EmaCross(fast=5, slow=13, tick=tick)
    orders = dict(recorded(strategy, "MSFT", "2012-12-26", "2012-12-26"))
    assert str(orders["2012-12-26"].price) == price


def test_a_tick_that_is_too_coarse_is_told() -> None:
    """A tick as large as the price is an error of the settings and not an order at 0."""
    with pytest.raises(StrategyError, match="too coarse for the price"):
        list(recorded(EmaCross(fast=5, slow=13, tick="100"), "MSFT", "2012-12-26", "2012-12-26"))


@given(
    closes=st.lists(st.floats(0.5, 2_000), min_size=60, max_size=60),
    sl=st.floats(0, 50),
    tp=st.floats(0, 50),
    tick=st.sampled_from(["0.01", "0.05", "0.2", "0.00001"]),
)
def test_whatever_the_market_does_orders_fit_together(closes: list[float], sl: float, tp: float, tick: str) -> None:
    """Wild markets and wide stops give orders that `evaluate` accepts, the same each time, and bars stay untouched."""
    options: dict[str, Any] = {"sl_atr": sl, "tp_atr": tp, "tick": tick, "atr_period": 5}
    for strategy in (EmaCross(fast=2, slow=4, **options), RsiReversal(period=2, low=45, high=55, **options)):
        bars = tuple(bars_of(closes, reach=0.25)[-strategy.warmup :])
        kept = tuple(replace(bar) for bar in bars)
        assert evaluate(strategy, bars) == evaluate(strategy, list(bars))
        assert bars == kept


@pytest.mark.parametrize(
    ("strategy", "warmup"),
    [
        (EmaCross(), 104),
        (EmaCross(fast=5, slow=13), 52),
        (EmaCross(fast=2, slow=3), 15),
        (EmaCross(lookback=30), 30),
        (RsiReversal(), 112),
        (RsiReversal(period=7), 56),
        (RsiReversal(period=2, atr_period=40), 41),
        (RsiReversal(lookback=16), 16),
    ],
)
def test_warmup(strategy: Strategy, warmup: int) -> None:
    """By default as many bars are looked at as the averages need to settle, or what the parameter lookback says."""
    assert strategy.warmup == warmup
    assert strategy.version == "1"
    evaluate(strategy, bars_of([100.0 + i % 7 for i in range(warmup)]))


@pytest.mark.parametrize(
    ("name", "given", "what"),
    [
        ("ema_cross", {"fast": 1}, "ema_cross.fast"),
        ("ema_cross", {"fast": 26}, "ema_cross.fast"),
        ("ema_cross", {"fast": 5.0}, "ema_cross.fast"),
        ("ema_cross", {"fast": True}, "ema_cross.fast"),
        ("ema_cross", {"slow": "26"}, "ema_cross.slow"),
        ("ema_cross", {"lookback": 26}, "ema_cross.lookback"),
        ("ema_cross", {"lookback": -1}, "ema_cross.lookback"),
        ("ema_cross", {"lookback": 40, "atr_period": 40}, "ema_cross.lookback"),
        ("ema_cross", {"atr_period": 0}, "ema_cross.atr_period"),
        ("ema_cross", {"sl_atr": -1}, "ema_cross.sl_atr"),
        ("ema_cross", {"tp_atr": float("nan")}, "ema_cross.tp_atr"),
        ("ema_cross", {"tick": "0"}, "ema_cross.tick"),
        ("ema_cross", {"tick": "a cent"}, "ema_cross.tick"),
        ("ema_cross", {"tick": float("inf")}, "ema_cross.tick"),
        ("ema_cross", {"version": "2"}, "strategy ema_cross: version"),
        ("ema_cross", {"quick": 3}, "strategy ema_cross: quick"),
        ("rsi", {"period": 1}, "rsi.period"),
        ("rsi", {"low": 0}, "rsi.low"),
        ("rsi", {"low": 70}, "rsi.low"),
        ("rsi", {"high": 100}, "rsi.high"),
        ("rsi", {"high": "70"}, "rsi.high"),
        ("rsi", {"lookback": 15}, "rsi.lookback"),
        ("rsi", {"tick": -1}, "rsi.tick"),
    ],
)
def test_wrong_parameters(name: str, given: dict[str, Any], what: str) -> None:
    """A parameter that makes no sense is refused when the strategy is made, and the error names it."""
    with pytest.raises(InvalidSetting) as caught:
        make_strategy(name, given)
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("ema_cross", {"fast": 5, "slow": 13}, {"AAPL": 3, "FB": 8, "GOOG": 4, "IBM": 7, "MSFT": 7}),
        ("rsi", {"period": 7, "low": 25, "high": 75}, {"AAPL": 4, "FB": 4, "GOOG": 6, "IBM": 5, "MSFT": 4}),
    ],
)
def test_over_the_recorded_autumn(name: str, params: dict[str, Any], expected: dict[str, int]) -> None:
    """Over 2012-09-10 to 2012-12-31 the parameters of the demo give these many signals on the recorded days."""
    strategy = make_strategy(name, params)
    counted = Counter[str]()
    for instrument in INSTRUMENTS:
        orders = list(recorded(strategy, instrument, "2012-09-10", "2012-12-31"))
        counted[instrument] = len(orders)
        if name == "ema_cross":
            sides = [order.side for _, order in orders]
            assert all(a != b for a, b in pairwise(sides))
    assert counted == expected
