"""Proof bundles: scores with all that it takes to compute them anew.

A bundle is one JSON object: `format`, `version` (of this package), `parameters` (of the question),
`unit`, `inputs_sha256`, `events`, `scores`, and for holders that are addresses `root`, the root of
their claims' Merkle tree. `tree` is its format where that is not OpenZeppelin's: "uniswap".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poh_holdmetrics import whole_file
from poh_holdmetrics._native import (
    HoldMetricsError,
    MerkleDistributor,
    Scores,
    StandardMerkleTree,
    build_info,
    recompute,
)

if TYPE_CHECKING:
    from pathlib import Path

    from poh_holdmetrics.typing import Tree

FORMAT = "poh_holdmetrics-bundle-v1"
_LONGEST = 500
"""Characters of a value that a difference shows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bundle is found to be."""

    differences: list[str]
    """What is not as its events say; empty for a bundle that is right."""
    made_by: str
    """The version of this package that the bundle says it was made by."""


def write(scores: Scores, path: Path, unit: str, tree: Tree = "openzeppelin") -> None:
    """Write a bundle; `Scores.proof_bundle` is the short form.

    Parameters
    ----------
    scores
        A whole answer, by holder or by token.
    path
        A file, which is there whole or not at all.
    unit
        The size of one unit of a claim.
    tree
        Whose contract takes the claims: "openzeppelin" or "uniswap".
    """
    parameters = scores._parameters()
    if parameters["by"] == "both":
        message = (
            "a bundle has the claims of holders or of tokens, and this answer is by pairs of them; "
            'ask with by="holder" or "token"'
        )
        raise HoldMetricsError(message)
    events = [list(event) for event in scores._events()]
    # A bundle without `tree` is what the first readers know: it has OpenZeppelin's root.
    named = None if tree == "openzeppelin" else tree
    content = _content(scores, events, parameters, unit, named)
    whole_file.write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def verify(path: Path) -> list[str]:
    """Compute everything in a bundle anew from its events, and say what differs.

    Raises
    ------
    HoldMetricsError
        When the file is not a bundle.
    """
    return examine(path).differences


def examine(path: Path) -> Verdict:
    """Verify a bundle, and say which version made it: its numbers hold whichever that was.

    Raises
    ------
    HoldMetricsError
        When the file is not a bundle.
    """
    content = _read(path)
    try:
        scores = recompute(content["events"], content["parameters"])
        # Those that were asked, and no others beside them; with lists, as JSON has them.
        parameters = json.loads(json.dumps(scores._parameters()))
        anew = _content(scores, content["events"], parameters, content["unit"], content.get("tree"))
    except HoldMetricsError as error:
        raise HoldMetricsError(f"{path}: {error}", error.row, error.field) from None
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        message = f"{path}: the bundle has a part of a wrong form: {_shown(error)}"
        raise HoldMetricsError(message) from None
    names = sorted((content.keys() | anew.keys()) - {"version", "scores"})
    differences = [
        f"{name}: the bundle has {_shown(old)}, its events make {_shown(new)}"
        for name in names
        if (old := content.get(name)) != (new := anew.get(name))
    ]
    differences += _score_differences(content.get("scores"), anew["scores"])
    return Verdict(differences, content["version"])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise HoldMetricsError(f"{path}: not a bundle, or cut short: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise HoldMetricsError(f"{path}: the format is {found!r}; this version reads {FORMAT!r}")
    version = content.get("version")
    if not isinstance(version, str) or not version:
        found = "no version" if version is None else f"the version {_shown(version)}"
        message = f"{path}: the bundle has {found}; a bundle says as text which version made it"
        raise HoldMetricsError(message)
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is there twice: another reader would take the other value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"{_shown(twice)} is there twice"
        raise ValueError(message)
    return found


def _score_differences(found: object, anew: list[dict[str, Any]]) -> list[str]:
    if not isinstance(found, list):
        return ["scores: not a list"]
    if len(found) != len(anew):
        return [f"scores: the bundle has {len(found)} rows, its events make {len(anew)}"]
    return [
        f"scores, row {row}: the bundle has {_shown(old)}, its events make {_shown(new)}"
        for row, (old, new) in enumerate(zip(found, anew, strict=True))
        if old != new
    ]


def _shown(value: object) -> str:
    """What differs, cut where it is long: ids may be."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_TREES: dict[str, type[StandardMerkleTree | MerkleDistributor]] = {
    "openzeppelin": StandardMerkleTree,
    "uniswap": MerkleDistributor,
}


def _content(
    scores: Scores,
    events: list[list[Any]],
    parameters: dict[str, Any],
    unit: str,
    tree: str | None,
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": build_info()["version"],
        "parameters": parameters,
        "unit": unit,
        "inputs_sha256": _hash(events),
        "events": events,
        "scores": [
            {name: row[name] for name in row if name.endswith("_id")}
            | {
                "total_us": total,
                "weighted_score_exact": row["weighted_score_exact"],
                "updated_at_us": updated,
            }
            for row, total, updated in zip(
                scores.to_pylist(), scores.total_microseconds, scores.updated_at_us, strict=True
            )
        ],
    }
    kind = _TREES["openzeppelin" if tree is None else tree]
    if tree is not None:
        content["tree"] = tree
    amounts = scores.amounts(unit=unit)
    if amounts and all(holder.startswith("0x") and len(holder) == 42 for holder in amounts):
        content["root"] = kind.of(amounts.items()).root
    return content


def _hash(events: list[list[Any]]) -> str:
    """SHA-256 of the events as JSON arrays, one a line, in sorted order."""
    lines = sorted(json.dumps(event, ensure_ascii=True) for event in events)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
