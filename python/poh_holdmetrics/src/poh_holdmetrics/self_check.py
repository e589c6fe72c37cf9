"""What is installed here, and whether it computes what it should."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from poh_holdmetrics._native import Boost, Holds, StandardMerkleTree, build_info

PEERS = ("dask", "numpy", "pandas", "polars", "pyarrow", "pydantic", "pyspark")


def facts() -> dict[str, str]:
    """Name versions, by what they are of; of the peers those that are installed."""
    build = build_info()
    found = {
        "poh_holdmetrics": build["version"],
        **{f"build {name}": value for name, value in build.items() if name != "version"},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
    }
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def faults() -> list[str]:
    """Compute what is known on paper; each answer that is another one is named."""
    day = 86_400
    holds = Holds(
        [
            {"holder_id": "a", "token_id": "t", "start": 0, "end": 60 * day, "weight": "0.1"},
            {"holder_id": "a", "token_id": "t", "start": 30 * day, "weight": 2**200},
        ]
    )
    at = 60 * day
    boosted = holds.score(at=at, boost=Boost([(30, "1.5")]))
    tree = StandardMerkleTree.of([("0x" + "11" * 20, 5 * 10**18), ("0x" + "22" * 20, 25 * 10**17)])
    epochs = holds.epochs(every="1mo", start=0, at=at, tz="Europe/Paris")
    known = {
        "the sum of lots": (
            holds.score(at=at)[0]["weighted_score_exact"],
            f"{30 * day * 2**200 + 6 * day}",
        ),
        "the length of a union": (
            holds.score(at=at, overlap="union")[0]["weighted_score_exact"],
            f"{60 * day}",
        ),
        "a boost by age": (
            boosted[0]["weighted_score_exact"],
            f"{30 * day * 2**200 + 75 * day // 10}",
        ),
        "months in a time zone": ([row["epoch"] for row in epochs.to_pylist()], [0, 1, 2]),
        "a Merkle root": (
            tree.root,
            "0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77",
        ),
    }
    return [
        f"{what} is {found!r} and should be {right!r}: this build is broken, install it anew"
        for what, (found, right) in known.items()
        if found != right
    ]
