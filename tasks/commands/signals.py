"""`celery -A tasks signals list|show|resolve`: what is held, why, and what a person says of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tasks.commands.ending import Exit, Group, as_json, echo_json, finish, open_line, refuse
from tasks.commands.given import MOMENT, Moment, iso
from tasks.commands.showing import print_fields, print_table

if TYPE_CHECKING:
    from dedup.ops import Resolution
    from dedup.signals import Signal
    from tasks.held import Found
    from tasks.runtime import Pipeline

STATES = ("held", "claimed", "released", "unknown", "done", "posted", "expired", "rejected")


@click.group(cls=Group)
def signals() -> None:
    """Look at signals' records, and settle those that are held."""


@signals.command("list")
@as_json
@click.option("--held", is_flag=True, help="Those that wait for a person. So it is where no --state is given.")
@click.option("--state", "states", multiple=True, type=click.Choice([*STATES, "all"]), help="May be given again.")
@click.option("--instrument", "instruments", multiple=True, help="Only this one; may be given again.")
@click.option("--since", type=MOMENT, default=None, help="Candles from then on: 2h, 3d, or 2025-01-01T00:00:00Z.")
def list_signals(
    machine: bool, held: bool, states: tuple[str, ...], instruments: tuple[str, ...], since: Moment | None
) -> None:
    """List signals by their candle: those that are held, unless --state says otherwise."""
    from tasks.held import as_document, chosen, find_all

    line = open_line()
    wanted = set(states) | ({"held"} if held or not states else set())
    moment = since.by(line.clock.now()) if since else None
    found = chosen(find_all(line), () if "all" in wanted else wanted, instruments, moment)
    if machine:
        echo_json([as_document(one) for one in found])
    else:
        _print_list(found)
    finish(any(one.state in ("held", "rejected") for one in found))


def _print_list(found: list[Found]) -> None:
    from rich.text import Text

    if not found:
        click.echo("none")
        return
    rows = []
    for one in found:
        said = f" [{one.record.by}: {one.record.by_why}]" if one.record.by else ""
        state = Text(one.state, style="bold red" if one.state in ("held", "rejected") else "")
        rows.append((one.reference, str(one.name), state, str(one.record.attempt), one.record.reason + said))
    print_table(("id", "signal", "state", "tries", "why"), rows)


@signals.command()
@click.argument("reference", metavar="SIGNAL")
@as_json
@click.option("--look-up", is_flag=True, help="Ask the API whether it has it (SIGNAL_LOOKUP_URL).")
def show(reference: str, machine: bool, look_up: bool) -> None:
    """Show one signal whole: record, payload, why it is held, and what can be said of it.

    SIGNAL is its id, the beginning of it, or its key.
    """
    from tasks.held import as_document, find_one

    line = open_line()
    one = find_one(line, reference)
    document = as_document(one) | _about(line, one)
    if look_up:
        document["api"] = _asked(line, one)
    if machine:
        echo_json(document)
    else:
        print_fields(_flat(document))
    finish(one.state == "held")


def _about(line: Pipeline, one: Found) -> dict[str, Any]:
    from dedup.ops import Resolution
    from tasks.held import payload_of, why_not

    signal, candle = payload_of(line, one.name)
    now = line.clock.now()
    words = Resolution if one.state == "held" else ()
    refusals = {word: why_not(one.record, word, signal, now, line.horizon_start(now)) for word in words}
    return {
        "candle": "its record is gone" if candle is None else candle.outcome or candle.state.value,
        "expires_at": None if signal is None else iso(signal.expires_at),
        "payload": None if signal is None else signal.fields(),
        "resolve": {word.value: why or "possible" for word, why in refusals.items()},
    }


def _asked(line: Pipeline, one: Found) -> str:
    from dedup.delivery import HttpDelivery
    from tasks.runtime import delivery_options

    if not one.name.id:
        return "its key does not say enough to know its id"
    return HttpDelivery(delivery_options(line.settings)).look_up(one.name.id).reason


def _flat(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", str(told)) for inner, told in value.items() if told is not None)
        elif value not in ("", None, False, 0):
            yield name, str(value)


@signals.command()
@click.argument("references", metavar="SIGNAL...", nargs=-1, required=True)
@click.option(
    "--as",
    "word",
    required=True,
    type=click.Choice(["posted", "resend", "rejected"]),
    help="posted: the API has it. resend: post it, once more. rejected: do not post it any more.",
)
@click.option("--why", required=True, help="In words; kept in the record.")
@click.option("--who", default=None, help="Who says so; kept in the record. Your login name where left out.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def resolve(references: tuple[str, ...], word: str, why: str, who: str | None, yes: bool, machine: bool) -> None:
    """Settle signals that are held. Asks once.

    A signal whose late delivery settled it meanwhile is left as it is. With resend exactly one delivery goes on; should
    nobody know what became of that one either, the signal is held again.
    """
    from dedup.cache_base import check_said
    from dedup.ops import Resolution
    from tasks.held import find_one

    resolution = Resolution(word)
    line = open_line(sends=resolution is Resolution.RESEND)
    by = who if who is not None else _login()
    check_said(by, why)
    found = [find_one(line, reference) for reference in references]
    payloads = _payloads(line, found, resolution)
    if not yes:
        _confirm(found, resolution)
    told = [_settle(line, one, payload, resolution, by, why) for one, payload in zip(found, payloads, strict=True)]
    if machine:
        echo_json(told)
    else:
        for one in told:
            click.echo(f"{one['id']} {one['said']}")
    finish(not all(one["acted"] for one in told))


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("nobody is logged in here: say who you are with --who") from None


def _payloads(line: Pipeline, found: list[Found], resolution: Resolution) -> list[Signal | None]:
    """What the signals carry. Refuses them all where one of them cannot be settled so."""
    from tasks.held import payload_of, why_not

    now = line.clock.now()
    payloads = [payload_of(line, one.name)[0] for one in found]
    for one, payload in zip(found, payloads, strict=True):
        why = why_not(one.record, resolution, payload, now, line.horizon_start(now))
        if why:
            refuse(Exit.FOUND, f"{one.reference} ({one.name}): {why}")
    return payloads


def someone_is_there() -> bool:
    """Whether a question can be answered."""
    return sys.stdin.isatty()


def _confirm(found: list[Found], resolution: Resolution) -> None:
    for one in found:
        click.echo(f"{one.reference}  {one.name}  held at try {one.record.attempt}: {one.record.reason}", err=True)
    what = {
        "posted": "The API has what is listed: mark it as posted?",
        "rejected": "Never post what is listed?",
        "resend": "Post what is listed once more? What the API may have already, it may then have twice.",
    }[resolution.value]
    if not someone_is_there():
        raise click.UsageError("there is nobody to ask here: give --yes")
    click.confirm(what, abort=True, err=True)


def _settle(
    line: Pipeline, one: Found, payload: Signal | None, resolution: Resolution, by: str, why: str
) -> dict[str, Any]:
    from kombu.exceptions import OperationalError

    from dedup.ops import Resolution
    from tasks.publish import enqueue_publish

    settled = line.signals.resolve(one.key, one.record, resolution, by, why)
    document = {"id": one.reference, "key": one.key, "acted": settled.acted, "as": resolution.value, "by": by}
    if not settled.acted:
        stands = "nothing" if settled.record is None else settled.record.outcome or settled.record.state.value
        return document | {"said": f"was left as it is: it has moved on since it was read, to {stands}"}
    if resolution is not Resolution.RESEND or payload is None:
        return document | {"said": f"is {resolution.value}, as {by} says"}
    try:
        enqueue_publish(payload)
    except OperationalError as error:
        said = f"is let go, but the broker is away ({error}): the sweep enqueues it, within the horizon"
        return document | {"said": said}
    return document | {"said": "is let go, and in the queue to be posted"}
