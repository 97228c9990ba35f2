"""Strategies: the shipped ones by name, others by their dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from dedup.errors import InvalidSetting
from tasks import plugins
from tasks.strategies import params as checks
from tasks.strategies.ema_cross import EmaCross
from tasks.strategies.evaluation import evaluate
from tasks.strategies.function import FunctionStrategy
from tasks.strategies.protocol import Order, Side, Strategy
from tasks.strategies.rsi import RsiReversal

__all__ = [
    "EmaCross",
    "FunctionStrategy",
    "Order",
    "RsiReversal",
    "Side",
    "Strategy",
    "evaluate",
    "make_strategy",
]

_SHIPPED: Mapping[str, Callable[..., Strategy]] = {"ema_cross": EmaCross, "rsi": RsiReversal}


def make_strategy(name: str, params: Mapping[str, Any] | None = None) -> Strategy:
    """Make the strategy that a watchlist names.

    Args:
        name: `ema_cross` or `rsi`, or the path `package.module:Name` or `package.module.Name` of a class, which is made
            with the parameters and must then be a `Strategy`, or of a function `f(bars, **params)` that returns an
            `Order` or None. How many bars a function looks at says its attribute `warmup`, or a parameter `warmup` in
            the watchlist; otherwise it gets one.
        params: the parameters as the watchlist has them.

    Raises:
        InvalidInput: no such strategy, a parameter that it does not take, or a value that it refuses.
    """
    what = f"strategy {name}"
    if isinstance(name, str) and name in _SHIPPED:
        found: Any = _SHIPPED[name]
    elif isinstance(name, str) and plugins.is_dotted(name):
        found = plugins.load(name, "strategy")
    else:
        raise InvalidSetting("strategy", name, f"write one of {', '.join(_SHIPPED)}, or package.module:Name")
    if inspect.isclass(found):
        return _checked(what, plugins.make(what, found, params or {}, {}))
    if inspect.iscoroutinefunction(found):
        raise InvalidSetting(what, name, "is an async function; a strategy computes and does not wait")
    if not callable(found):
        raise InvalidSetting(what, type(found).__name__, "is not callable; name a class or a function")
    return FunctionStrategy.from_params(what, found, params or {})


def _checked(what: str, made: Any) -> Strategy:
    if not callable(made):
        remedy = "its objects cannot be called; give the class a method __call__(self, bars)"
        raise InvalidSetting(what, type(made).__name__, remedy)
    checks.whole(f"{what}: warmup", getattr(made, "warmup", None), least=1)
    if not isinstance(getattr(made, "version", None), str):
        raise InvalidSetting(f"{what}: version", getattr(made, "version", None), 'give the class version = "1"')
    return cast("Strategy", made)
