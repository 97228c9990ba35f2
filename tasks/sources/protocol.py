"""What a source of bars has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dedup.timeframe import Candle
from tasks.bars import Bar


class Source(Protocol):
    """A feed of bars. Plug in your own by its dotted path in the watchlist.

    A source is made once per process from its watchlist table: `MySource(**options)`. It must not connect when it is
    made. Workers may call it from several processes at once.
    """

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        """The last `count` bars of `candle.instrument` and `candle.timeframe`, oldest first, up to that candle.

        Where the feed already has the candle, it is the last bar and says whether it is `final`. A feed may also hold
        later bars: it gives the one right after the candle too, as a last extra element, when it knows it, because a
        successor tells a gap from a late bar. Fewer bars than asked for is an honest answer.

        Raises:
            SourceError: the feed cannot be read now.
        """
        ...
