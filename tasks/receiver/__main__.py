"""`python -m tasks.receiver`: the receiver as a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dedup.errors import DedupError, InvalidSetting
from tasks.receiver.serving import DEFAULT_MAX_BODY, Receiver


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status: 0, or 2 when it could not start."""
    options = _parser().parse_args(argv)
    # Blocked before any thread starts, so that the signals wait here and interrupt nothing.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        receiver = Receiver(
            options.log,
            host=options.host,
            port=options.port,
            secrets=_secrets(options),
            plain=options.plain,
            fsync=options.fsync,
            max_body=options.max_body,
            allow_faults=options.allow_faults,
        )
        with receiver:
            _serve(receiver, options.port_file)
    except (DedupError, OSError) as error:
        print(f"receiver: {error}", file=sys.stderr)
        return 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


_ENDINGS = (signal.SIGTERM, signal.SIGINT)


def _serve(receiver: Receiver, port_file: Path | None) -> None:
    if port_file is not None:
        # Renamed into place, so that whoever waits for it never reads half a number.
        fresh = port_file.with_name(f"{port_file.name}.{os.getpid()}")
        fresh.write_text(f"{receiver.port}\n")
        fresh.replace(port_file)
    print(f"receiver: listening on {receiver.url}, log {receiver.log_path}", flush=True)
    signal.sigwait(_ENDINGS)
    if port_file is not None:
        port_file.unlink(missing_ok=True)


def _secrets(options: argparse.Namespace) -> list[str]:
    from_file = options.secret_file.read_text().split() if options.secret_file else []
    if options.secret_file and not from_file:
        raise InvalidSetting("--secret-file", str(options.secret_file), "it holds no secret; write one per line")
    return [*options.secret, *from_file]


def _parser() -> argparse.ArgumentParser:
    about = "The reference signal API: takes signals, honours Idempotency-Key, logs every POST."
    parser = argparse.ArgumentParser(prog="python -m tasks.receiver", description=about)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind to (default: %(default)s)")
    add("--port", type=int, default=8099, help="0 takes a free one (default: %(default)s)")
    add("--log", type=Path, required=True, metavar="FILE", help="log of every POST; also the database")
    add("--port-file", type=Path, metavar="FILE", help="write the port here once it listens")
    add("--secret", action="append", default=[], help="Standard Webhooks secret; give several to rotate them")
    add("--secret-file", type=Path, metavar="FILE", help="the same, one per line, hidden from the process list")
    add("--plain", action="store_true", help="ignore Idempotency-Key: every POST has an effect")
    add("--fsync", action="store_true", help="force every line of the log to the disk")
    add("--max-body", type=int, default=DEFAULT_MAX_BODY, metavar="BYTES", help="(default: %(default)s)")
    add("--allow-faults", action="store_true", help="let anyone use /faults, not only on a loopback address")
    return parser


if __name__ == "__main__":
    sys.exit(main())
