"""Every interleaving of the publishing protocol, explored whole.

The explorer drives what production runs: the operations of `dedup.ops` in `dedup.stores.memory.MemoryStore`, whose
clock it holds, and the generator `dedup.publish_flow.publishing`, which it restores by sending it the answers that it
got before. Between any two steps of one delivery it lets every other one, the store, the API and fate take theirs.

============  ======================================================================================================
module        holds
============  ======================================================================================================
scenario      what is explored: policy, API, how many deliveries at once, which events
states        the canonical state
storing       operations in the real in-memory store, from and to canonical records
flowing       the real flow, restored from its history of answers
answers       what the API can answer, and what the store answered, in words
stepping      every step that can follow a state
judging       the invariants
exploring     breadth-first search; the shortest trace to a broken invariant
telling       traces and figures as text
mutants       protocols with one mistake each
============  ======================================================================================================

The space is finite because of what is left out, all of which the protocol does not look at or which is a case of
something kept:

- Tokens are told apart only as "mine" and "another's"; deliveries that are alike are interchangeable.
- Attempts are counted to 2 (first, later), failures to the cap. Reasons and times of writing are dropped.
- A lease is running or over; a clock that a worker reads may say whatever it likes.
- Deliveries come without end, each with a fresh token; only how many are alive at once is bounded.
- How often a reply is lost, a lease runs out, a worker dies or the store forgets is not bounded at all.
"""
