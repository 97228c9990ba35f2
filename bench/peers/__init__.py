"""The same tiny job on candlelatch and on what else there is, under the same faults: `python -m bench.peers`.

The job: claim a key, POST to the reference API, write down that it is done. `apps/` holds it once per peer, written as
the peer's own documentation tells its users to. README.md tells how it is judged, and what came of it.
"""
