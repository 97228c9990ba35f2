"""A plain function as a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks import plugins
from tasks.bars import Bar
from tasks.strategies import params
from tasks.strategies.protocol import Order


@dataclass(frozen=True, slots=True)
class FunctionStrategy:
    """A function `f(bars, **params)` that returns an order or None.

    Attributes:
        function: the function.
        warmup: how many bars it looks at.
        version: sent with every signal.
        params: what it is called with beside the bars.
    """

    function: Callable[..., Order | None]
    warmup: int = 1
    version: str = "1"
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_params(cls, what: str, function: Callable[..., Any], given: Mapping[str, Any]) -> FunctionStrategy:
        """Adapt a function.

        Args:
            what: the setting that names it, for messages.
            function: its attributes `warmup` and `version`, where it has them, say how many bars it looks at and which
                version it is.
            given: its parameters as the watchlist has them, and `warmup`, which goes before the attribute unless the
                function has a parameter of that name and thus gets it too.

        Raises:
            InvalidSetting: a parameter that the function does not take, or a missing one, or a `warmup` that is none.
        """
        known = plugins.parameters(function)
        taken = dict(list((known or {}).items())[1:])
        rest = {name: value for name, value in given.items() if name != "warmup" or name in taken}
        if known is not None:
            plugins.check_arguments(what, taken, rest)
        warmup = params.whole(f"{what}: warmup", given.get("warmup", getattr(function, "warmup", 1)), least=1)
        return cls(function, warmup, str(getattr(function, "version", "1")), rest)

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        """What the function makes of the bars."""
        return self.function(bars, **self.params)
