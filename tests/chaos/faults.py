"""What each kind of fault does to a world. Each says in words what it did; `tests.chaos.schedule` says when."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import redis
import requests

from dedup.errors import StoreError
from tests.chaos.market import LENGTH, TIMEFRAME
from tests.chaos.world import API, ENGINE, UP_S, World
from tests.pipeline.feeds import ORIGIN
from tests.pipeline.proxy import Proxy
from tests.pipeline.strikes import Strike
from tests.pipeline.waiting import eventually

Parameters = Mapping[str, Any]

STRUCK_WITHIN_S = 5.0
API_LISTENS_WITHIN_S = 10.0
IN_FLIGHT_WITHIN_S = 4.0
RECENT_CLOSES = 6

NotDone = (OSError, StoreError, redis.RedisError, requests.RequestException, psutil.Error, AssertionError)
"""What a fault may end with where another one stands in its way."""


def kill_worker(world: World, parameters: Parameters) -> str:
    """SIGKILL a worker with its children."""
    _, told = _posting(world, parameters)
    world.supervisor.kill(parameters["worker"])
    return f"kill -9 of {parameters['worker']} and its children{told}"


def kill_parent(world: World, parameters: Parameters) -> str:
    """SIGKILL a worker's parent process; its children are orphans until the supervisor sees it."""
    _, told = _posting(world, parameters)
    os.kill(world.supervisor[parameters["worker"]].pid, signal.SIGKILL)
    return f"kill -9 of {parameters['worker']} without its children{told}"


def kill_child(world: World, parameters: Parameters) -> str:
    """SIGKILL one process of a worker's pool."""
    child, told = _posting(world, parameters)
    child.kill()
    return f"kill -9 of a pool process of {parameters['worker']}{told}"


def stop_worker(world: World, parameters: Parameters) -> str:
    """SIGSTOP a worker with its children beyond every lease, then SIGCONT."""
    _, told = _posting(world, parameters)
    return _pause(world, parameters["worker"], parameters["seconds"]) + told


def stop_child(world: World, parameters: Parameters) -> str:
    """SIGSTOP one process of a worker's pool beyond every lease, then SIGCONT."""
    child, told = _posting(world, parameters)
    child.suspend()
    time.sleep(parameters["seconds"])
    with contextlib.suppress(psutil.NoSuchProcess):
        child.resume()
    return f"SIGSTOP of a pool process of {parameters['worker']} for {parameters['seconds']} s{told}"


def kill_beat(world: World, parameters: Parameters) -> str:
    """SIGKILL a beat."""
    world.supervisor.kill(parameters["beat"])
    return f"kill -9 of {parameters['beat']}"


def kill_engine(world: World, _: Parameters) -> str:
    """SIGKILL the engine; the supervisor starts it on the same data."""
    world.supervisor.kill(ENGINE)
    time.sleep(0.1)
    eventually(world.engine_answers, "the engine after its restart", UP_S)
    return "kill -9 of the engine, back on its data"


def freeze_engine(world: World, parameters: Parameters) -> str:
    """SIGSTOP the engine: connections stay open and nothing is answered."""
    return _pause(world, ENGINE, parameters["seconds"])


def kill_api(world: World, parameters: Parameters) -> str:
    """SIGKILL the API, and let it be down for a while."""
    world.supervisor.hold_down(API)
    world.supervisor.kill(API)
    time.sleep(parameters["seconds"])
    world.supervisor.release(API)
    eventually(world.api_answers, "the API after its restart", UP_S)
    return f"kill -9 of the API, down for {parameters['seconds']} s"


def freeze_api(world: World, parameters: Parameters) -> str:
    """SIGSTOP the API."""
    return _pause(world, API, parameters["seconds"])


def api_fault(world: World, parameters: Parameters) -> str:
    """Let the API misbehave towards the next POSTs."""
    fault = parameters["fault"]
    _tell_api(world, fault)
    return "the API: " + " ".join(f"{name}={value}" for name, value in fault.items())


def store_fault(world: World, parameters: Parameters) -> str:
    """Strike the next exchanges of a worker with Redis."""
    strike = Strike(**parameters["strike"], needle=parameters["needle"].encode())
    told = _strike(world.store_proxies[parameters["worker"]], strike)
    return f"{parameters['worker']} and Redis, {parameters['needle'] or 'anything'}: {told}"


def post_fault(world: World, parameters: Parameters) -> str:
    """Strike the next POSTs on their way."""
    return "workers and API: " + _strike(world.post_proxy, Strike(**parameters["strike"]))


def store_partition(world: World, parameters: Parameters) -> str:
    """Half-open connections between a worker and Redis: nothing passes and nothing ends."""
    return f"{parameters['worker']} and Redis: " + _freeze(world.store_proxies[parameters["worker"]], parameters)


def post_partition(world: World, parameters: Parameters) -> str:
    """The same between the workers and the API."""
    return "workers and API: " + _freeze(world.post_proxy, parameters)


def script_flush(world: World, _: Parameters) -> str:
    """Let Redis forget its scripts."""
    with world.client() as client:
        client.script_flush()
    return "SCRIPT FLUSH"


def client_kill(world: World, _: Parameters) -> str:
    """Close every connection to Redis from its side."""
    with world.client() as client:
        closed = sum(int(client.execute_command("CLIENT", "KILL", "TYPE", kind)) for kind in ("normal", "pubsub"))
    return f"CLIENT KILL of {closed} connections"


def out_of_memory(world: World, parameters: Parameters) -> str:
    """Let Redis refuse every write for a while, as it does at its `maxmemory` under `noeviction`."""
    with world.client() as client:
        client.config_set("maxmemory", 1)
    time.sleep(parameters["seconds"])
    eventually(lambda: _unlimited(world), "the engine to take its limit back", UP_S)
    return f"Redis out of memory for {parameters['seconds']} s"


def duplicate_candles(world: World, parameters: Parameters) -> str:
    """Send `evaluate_candle` once more for candles that closed lately."""
    chosen = _recent_candles(world, parameters)
    for instrument, start in chosen:
        world.app.send_task(
            "evaluate_candle",
            kwargs={"instrument": instrument, "timeframe": TIMEFRAME, "candle_start": start.isoformat()},
        )
    return f"evaluate_candle again for {len(chosen)} candles"


def duplicate_signals(world: World, parameters: Parameters) -> str:
    """Send `publish_signal` once more for the signals of candles that closed lately, as their records carry them."""
    chosen = _recent_candles(world, parameters)
    cache = world.line.recorded_candles()
    records = [found.record for found in cache.peek_many([cache.key(name, TIMEFRAME, at) for name, at in chosen])]
    found = [fields for record in records if record and record.value for fields in record.value["signals"]]
    carried = found[: parameters["count"]]
    for fields in carried:
        world.app.send_task("publish_signal", kwargs={"signal": fields})
    return f"publish_signal again for {len(carried)} signals"


def double_sweep(world: World, _: Parameters) -> str:
    """Send two sweeps at once, beside those of the beats."""
    for _twice in range(2):
        world.app.send_task("sweep")
    return "two sweeps at once"


def flush_all(world: World, _: Parameters) -> str:
    """Let Redis forget everything, broker included."""
    with world.client() as client:
        client.flushall()
    return "FLUSHALL"


FAULTS: Mapping[str, Callable[[World, Parameters], str]] = {
    strike.__name__: strike
    for strike in (
        kill_worker,
        kill_parent,
        kill_child,
        stop_worker,
        stop_child,
        kill_beat,
        kill_engine,
        freeze_engine,
        kill_api,
        freeze_api,
        api_fault,
        store_fault,
        post_fault,
        store_partition,
        post_partition,
        script_flush,
        client_kill,
        out_of_memory,
        duplicate_candles,
        duplicate_signals,
        double_sweep,
        flush_all,
    )
}


def _posting(world: World, parameters: Parameters) -> tuple[psutil.Process, str]:
    """The pool process to strike: any, or where it is to be in flight one that waits for the API's answer."""
    if parameters["in_flight"]:
        _tell_api(world, {"kind": parameters["in_flight"], "seconds": 1.8, "times": 4})
        until = time.monotonic() + IN_FLIGHT_WITHIN_S
        while time.monotonic() < until:
            for child in _children(world, parameters["worker"]):
                if _talks_to(child, world.post_proxy.port):
                    return child, f", its POST in flight ({parameters['in_flight']})"
            time.sleep(0.02)
    children = _children(world, parameters["worker"])
    if not children:
        raise ChildProcessError(f"{parameters['worker']} has no children now")
    return children[parameters["child"] % len(children) if "child" in parameters else 0], ""


def _children(world: World, worker: str) -> list[psutil.Process]:
    return list(psutil.Process(world.supervisor[worker].pid).children())


def _talks_to(process: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return any(one.raddr and one.raddr.port == port for one in process.net_connections(kind="tcp"))
    return False


def _tell_api(world: World, fault: Parameters) -> None:
    # Another fault may keep it from answering just now.
    eventually(world.api_answers, "the API to listen to what it is to do", API_LISTENS_WITHIN_S)
    requests.put(f"{world.api_url}/faults", json=fault, timeout=5).raise_for_status()


def _pause(world: World, name: str, seconds: float) -> str:
    world.supervisor[name].signal(signal.SIGSTOP)
    time.sleep(seconds)
    world.supervisor[name].signal(signal.SIGCONT)
    return f"SIGSTOP of {name} for {seconds} s"


def _strike(proxy: Proxy, strike: Strike) -> str:
    before = len(proxy.struck)
    proxy.put(strike)
    with contextlib.suppress(AssertionError):
        eventually(lambda: len(proxy.struck) > before, "the strike", STRUCK_WITHIN_S)
    return f"{strike}, {len(proxy.struck) - before} struck"


def _freeze(proxy: Proxy, parameters: Parameters) -> str:
    proxy.freeze()
    time.sleep(parameters["seconds"])
    proxy.thaw()
    return f"nothing passes for {parameters['seconds']} s"


def _unlimited(world: World) -> bool:
    with contextlib.suppress(redis.RedisError, OSError), world.client() as client:
        return bool(client.config_set("maxmemory", 0))
    return False


def _recent_candles(world: World, parameters: Parameters) -> list[tuple[str, datetime]]:
    market, dice = world.market, random.Random(parameters["seed"])
    since_s = (datetime.now(UTC) - market.opens_at) / timedelta(seconds=1)
    closed = min(market.closes, int(since_s / market.close_every_s) + 1)
    numbers = range(max(0, closed - RECENT_CLOSES), closed)
    return [
        (dice.choice(market.instrument_names), ORIGIN + dice.choice(numbers) * LENGTH)
        for _ in range(parameters["count"] if numbers else 0)
    ]
