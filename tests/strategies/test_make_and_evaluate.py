"""Making the strategy that a watchlist names, and running it without trusting it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from walking import bars_of

from dedup.errors import InvalidSetting, StrategyError
from tasks.bars import Bar
from tasks.strategies import EmaCross, FunctionStrategy, Order, RsiReversal, evaluate, make_strategy

HERE = __name__
BARS = bars_of([100.0, 101.0, 102.0])
BUY = Order("buy", Decimal("102"), Decimal("100"), Decimal("105"), 0.5, {"why": "test"})


class Own:
    """A strategy of one's own."""

    version = "7"

    def __init__(self, size: int = 2) -> None:
        self.warmup = size

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        return BUY if len(bars) == self.warmup else None


class Warmless:
    version = "1"

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        return None


class Versionless(Warmless):
    version = 1  # type: ignore[assignment]
    warmup = 1


class Mute:
    version, warmup = "1", 1


class Fragile(Warmless):
    def __init__(self) -> None:
        raise KeyError("weights")


def above(bars: Sequence[Bar], level: float, side: str = "buy") -> Order | None:
    """A plain function."""
    return BUY if bars[-1].close > level else None


def three(bars: Sequence[Bar]) -> Order | None:
    """A function that says how many bars it looks at."""
    return None


three.warmup, three.version = 3, "2024b"  # type: ignore[attr-defined]


def wants_warmup(bars: Sequence[Bar], warmup: int) -> Order | None:
    """A function that has a parameter of that name itself."""
    return BUY if warmup == 2 else None


async def later(bars: Sequence[Bar]) -> Order | None:
    return None


READY = Own(5)
NUMBER = 3


def test_shipped_by_name() -> None:
    """The shipped strategies go by their names and take the watchlist's parameters."""
    assert make_strategy("ema_cross", {"fast": 5, "slow": 13}) == EmaCross(fast=5, slow=13)
    assert make_strategy("rsi") == RsiReversal()


@pytest.mark.parametrize("path", [f"{HERE}:Own", f"{HERE}.Own"])
def test_a_class_is_made_with_the_parameters(path: str) -> None:
    """A dotted path to a class makes an object of it."""
    made = make_strategy(path, {"size": 3})
    assert (made.warmup, made.version) == (3, "7")
    assert evaluate(made, BARS) == BUY


def test_a_function_is_called_with_the_parameters() -> None:
    """A dotted path to a function gives a strategy that passes the parameters on and looks at one bar by default."""
    made = make_strategy(f"{HERE}:above", {"level": 101.5})
    assert (made.warmup, made.version) == (1, "1")
    assert evaluate(made, BARS) == BUY
    assert evaluate(made, BARS[:2]) is None


@pytest.mark.parametrize(
    ("function", "params", "warmup", "version"),
    [
        ("above", {"level": 1, "warmup": 20}, 20, "1"),
        ("three", {}, 3, "2024b"),
        ("three", {"warmup": 9}, 9, "2024b"),
        ("wants_warmup", {"warmup": 2}, 2, "1"),
        ("READY", {}, 5, "7"),
    ],
)
def test_how_many_bars_a_function_looks_at(function: str, params: dict[str, Any], warmup: int, version: str) -> None:
    """The watchlist's `warmup` goes before the function's attribute; the version is the attribute."""
    made = make_strategy(f"{HERE}:{function}", params)
    assert (made.warmup, made.version) == (warmup, version)
    evaluate(made, BARS)


def test_a_function_with_a_parameter_warmup_gets_it() -> None:
    """`warmup` reaches a function that has such a parameter, and no other."""
    assert evaluate(make_strategy(f"{HERE}:wants_warmup", {"warmup": 2}), BARS) == BUY


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("ema", {}, "write one of ema_cross, rsi, or package.module:Name"),
        (None, {}, "write one of ema_cross, rsi"),
        ("ema_cross", {"fsat": 3}, "fsat = '3': is no option; there are atr_period, sl_atr"),
        ("nowhere.at:all", {}, "there is no module nowhere"),
        (f"{HERE}:missing", {}, "has no missing"),
        (f"{HERE}:NUMBER", {}, "is not callable"),
        (f"{HERE}:later", {}, "is an async function"),
        (f"{HERE}:above", {}, "level = 'missing'"),
        (f"{HERE}:above", {"level": 1, "lvl": 2}, "lvl = '2': is no option; there are level, side"),
        (f"{HERE}:above", {"level": 1, "bars": 2}, "bars = '2': is no option"),
        (f"{HERE}:above", {"level": 1, "warmup": 0}, "warmup = '0': write a whole number, 1 or more"),
        (f"{HERE}:Own", {"size": 0}, "warmup = '0'"),
        (f"{HERE}:Own", {"seize": 2}, "seize = '2': is no option; there are size"),
        (f"{HERE}:Warmless", {}, "warmup = 'None'"),
        (f"{HERE}:Versionless", {}, 'give the class version = "1"'),
        (f"{HERE}:Mute", {}, "its objects cannot be called"),
        (f"{HERE}:Fragile", {}, "KeyError: 'weights'"),
    ],
)
def test_what_cannot_be_made(name: Any, params: dict[str, Any], says: str) -> None:
    """An unknown name or parameter, a missing one, and what is no strategy are settings errors with a remedy."""
    with pytest.raises(InvalidSetting) as caught:
        make_strategy(name, params)
    assert says in str(caught.value)


def answering(answer: Any) -> FunctionStrategy:
    return FunctionStrategy(lambda bars: answer)


@pytest.mark.parametrize(
    "order",
    [
        None,
        BUY,
        Order("buy", Decimal("102")),
        Order("sell", Decimal("102"), Decimal("105"), Decimal("100")),
        Order("close", Decimal("102"), confidence=0),
        replace(BUY, confidence=1, payload={"nested": [1, None, {"a": 0.5}]}),
    ],
)
def test_good_orders_pass(order: Order | None) -> None:
    """An order that fits together comes back as it is, and so does no order."""
    assert evaluate(answering(order), BARS) is order


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (True, "a bool: return an Order or None"),
        ({"side": "buy"}, "a dict: return an Order or None"),
        ([BUY], "a list: return an Order or None"),
        (replace(BUY, side="long"), "the side 'long': use one of buy, sell, close"),  # type: ignore[arg-type]
        (replace(BUY, price=102.0), "price = 102.0: give a Decimal"),  # type: ignore[arg-type]
        (replace(BUY, price=None), "price = None"),  # type: ignore[arg-type]
        (replace(BUY, price=Decimal("NaN")), "price = Decimal('NaN')"),
        (replace(BUY, price=Decimal("sNaN")), "price = Decimal('sNaN')"),
        (replace(BUY, price=Decimal("Infinity")), "finite and above 0"),
        (replace(BUY, price=Decimal(0)), "finite and above 0"),
        (replace(BUY, stop_loss=Decimal("NaN")), "stop_loss"),
        (replace(BUY, take_profit=Decimal(-1)), "take_profit"),
        (replace(BUY, stop_loss=Decimal(102)), "stop_loss = 102 for a buy at 102: it belongs below the price"),
        (replace(BUY, take_profit=Decimal(101)), "take_profit = 101 for a buy at 102: it belongs above the price"),
        (replace(BUY, side="sell"), "stop_loss = 100 for a sell at 102: it belongs above the price"),
        (replace(BUY, side="sell", stop_loss=None), "take_profit = 105 for a sell at 102: it belongs below"),
        (replace(BUY, side="close"), "a close with stop_loss or take_profit"),
        (replace(BUY, confidence=1.01), "confidence = 1.01: give a number from 0 to 1"),
        (replace(BUY, confidence=float("nan")), "confidence = nan"),
        (replace(BUY, confidence=True), "confidence = True"),
        (replace(BUY, confidence="high"), "confidence = 'high'"),  # type: ignore[arg-type]
        (replace(BUY, payload=[1]), "a payload of type list: give a dict"),  # type: ignore[arg-type]
        (replace(BUY, payload={"x": float("nan")}), "a payload that is no JSON"),
        (replace(BUY, payload={"x": Decimal(1)}), "a payload that is no JSON"),
        (replace(BUY, payload={"x": {1, 2}}), "a payload that is no JSON"),
    ],
)
def test_rubbish_is_refused(answer: Any, says: str) -> None:
    """What is no order, or one whose numbers do not fit together, is an error that says what to return."""
    with pytest.raises(StrategyError) as caught:
        evaluate(answering(answer), BARS)
    assert says in str(caught.value)


def raising(error: BaseException) -> FunctionStrategy:
    def strategy(bars: Sequence[Bar]) -> Order | None:
        raise error

    return FunctionStrategy(strategy)


def test_an_exception_keeps_its_type_and_message() -> None:
    """Whatever a strategy raises becomes a StrategyError that names the strategy, the type and the message."""
    with pytest.raises(StrategyError, match=r"strategy raised ZeroDivisionError: division by zero") as caught:
        evaluate(raising(ZeroDivisionError("division by zero")), BARS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("error", [StrategyError("not today"), SoftTimeLimitExceeded(), KeyboardInterrupt()])
def test_what_is_not_the_strategys_own_failure_passes_through(error: BaseException) -> None:
    """Celery's time limit, an interrupt, and an error that is one already are not wrapped."""
    with pytest.raises(type(error)) as caught:
        evaluate(raising(error), BARS)
    assert caught.value is error


def test_the_bars_of_the_caller_are_safe() -> None:
    """A strategy gets a tuple of its own, so that it cannot change what the next one sees."""
    bars = list(BARS)

    def greedy(seen: Any) -> Order | None:
        seen.clear()
        return None

    with pytest.raises(StrategyError, match="AttributeError"):
        evaluate(FunctionStrategy(greedy), bars)
    assert bars == BARS
