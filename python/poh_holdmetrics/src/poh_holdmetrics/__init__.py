"""Exact hold-time scores: who held how much, and for how long.

Give hold events (who, what, from when, until when, how much) and ask for scores. Sums are integers
in Rust, so they are exact and the same on every machine, in any order and on any number of threads.

Examples
--------
>>> from poh_holdmetrics import HoldEvent, score
>>> scores = score(
...     [
...         HoldEvent(token_id="punk-7", holder_id="alice", start=0, end=60),
...         HoldEvent(token_id="punk-7", holder_id="bob", start=60, weight="2.5"),
...     ],
...     at=100,
... )
>>> [(row["holder_id"], row["weighted_score_exact"]) for row in scores.to_pylist()]
[('alice', '60'), ('bob', '100')]
"""

from poh_holdmetrics._native import (
    Boost,
    HoldAggregator,
    HoldEvent,
    HoldMetricsError,
    Holds,
    MerkleDistributor,
    Scores,
    StandardMerkleTree,
    Table,
    build_info,
    epochs,
    finish,
    from_transfers,
    merge,
    partial,
    read_transfers,
    score,
)
from poh_holdmetrics._stat import HoldStat

__all__ = [
    "Boost",
    "HoldAggregator",
    "HoldEvent",
    "HoldMetricsError",
    "HoldStat",
    "Holds",
    "MerkleDistributor",
    "Scores",
    "StandardMerkleTree",
    "Table",
    "__version__",
    "build_info",
    "epochs",
    "finish",
    "from_transfers",
    "merge",
    "partial",
    "read_transfers",
    "score",
]

__version__: str = build_info()["version"]
