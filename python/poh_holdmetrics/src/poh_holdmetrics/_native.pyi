from _typeshed import Incomplete, SupportsGetItem
from datetime import datetime
from decimal import Decimal
from os import PathLike
from poh_holdmetrics.typing import By, Capsule, Columns, Data, Days, Every, Frame, Id, Instant, Json, Leaf, LeafEncoding, Leaves, Lots, OnNegative, Overlap, Progress, Record, Rounding, Seconds, Shares, Source, Standard, State, Steps, Weight, Zone
from typing import SupportsIndex, final

@final
class Boost:
    """
    A multiplier of the weight by the age of a hold.

    Age counts from the event's start with overlap "sum", and from the start of the unbroken run of
    holds with "union" and "max".

    Parameters
    ----------
    steps
        Pairs of days and multiplier: each multiplier holds from its age on, before the first age it
        is 1. Days are numbers (86,400 s) or timedeltas. Multipliers have up to 9 decimals; exact.
    cap
        Weight times multiplier is never more than this.

    Examples
    --------
    1x under 30 days, 1.5x to 90 days, 2x after:

    >>> from poh_holdmetrics import Boost, score
    >>> boost = Boost(steps=[(0, 1), (30, "1.5"), (90, 2)])
    >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0}]
    >>> score(rows, at=100 * 86_400, boost=boost)[0]["weighted_score_exact"]
    '12096000'
    >>> (30 * 1 + 60 * 1.5 + 10 * 2) * 86_400
    12096000.0
    """
    def __new__(cls, /, steps: Steps, *, cap: Weight | None = None) -> Boost: ...
    def __reduce__(self, /) -> "tuple[object, ...]": ...
    def __repr__(self, /) -> str: ...
    @staticmethod
    def _from_parts(parameters: Json, shown: str) -> Boost:
        """
        A boost from what pickle kept of one.
        """
    @staticmethod
    def half_life(half_life: Days, /) -> Boost:
        """
        The multiplier halves every `half_life`: 2^(-age / half_life).

        Computed in integers, so that every machine has the same bits: the exponent in steps of
        2^-128, boosted time rounded down to 10^-15 s at each end of a stretch, so that windows that
        touch add up exactly.

        Examples
        --------
        >>> from poh_holdmetrics import Boost, score
        >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0}]
        >>> boost = Boost.half_life(30)
        >>> forever = score(rows, at=10**10, boost=boost)[0]["weighted_score"]
        >>> score(rows, at=30 * 86_400, boost=boost)[0]["weighted_score"] / forever
        0.5
        """
    @staticmethod
    def linear_decay(*, over: Days) -> Boost:
        """
        The multiplier falls in a straight line to 0 at the hold's end, as vote-escrow weighs a lock
        by the time that it has left: (end - t) / over, at most 1. An open hold does not decay.
        Goes with overlap "sum".

        Boosted time is rounded down to 10^-15 s at each end of a stretch, so that windows that
        touch add up exactly.

        Examples
        --------
        A lock of four years counts half of its time on average:

        >>> from poh_holdmetrics import Boost, score
        >>> year = 365 * 86_400
        >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0, "end": 4 * year}]
        >>> boost = Boost.linear_decay(over=4 * 365)
        >>> score(rows, at=4 * year, boost=boost)[0]["weighted_score"] / year
        2.0
        """

@final
class HoldAggregator:
    """
    A live tracker in memory: record holds as they happen, read scores at any time.

    Lots add up. It may be used from many threads at once: holders are in shards, there is no lock
    over all. Closed holds are kept until `collect` turns them into exact sums.

    Parameters
    ----------
    scale
        Digits after the decimal point that weights keep, 0 to 18; a weight fits in 63 bits of them.
    ttl
        Seconds (or a timedelta) that a closed hold is kept for before `collect` takes it; a saved
        state has it too.

    Examples
    --------
    >>> from poh_holdmetrics import HoldAggregator, HoldEvent
    >>> tracker = HoldAggregator()
    >>> tracker.record(HoldEvent(token_id="t", holder_id="alice", start=0, end=10))
    >>> tracker.record_start(token_id="t", holder_id="bob", weight=2, at=5)
    >>> tracker.record_stop(token_id="t", holder_id="bob", at=25)
    >>> tracker.snapshot(at=100)
    [('alice', 10.0), ('bob', 40.0)]
    """
    def __len__(self, /) -> int:
        """
        The number of holds that are kept, open ones too.
        """
    def __new__(cls, /, *, scale: SupportsIndex = 9, ttl: Seconds | None = None) -> HoldAggregator: ...
    def collect(self, /, *, now: Instant | None = None) -> int:
        """
        Turn closed holds that ended `ttl` or longer before `now` into sums, which stay; returns how
        many.
        """
    @staticmethod
    def from_state(state: str, *, ttl: Seconds | None = None) -> HoldAggregator:
        """
        A tracker from what `to_state` gave, with the ttl that it had, or with another.

        Raises
        ------
        HoldMetricsError
            For a state of another format, or one that was changed or cut short.
        """
    def record(self, /, event: HoldEvent) -> None:
        """
        Record one hold, closed or open.
        """
    def record_start(self, /, token_id: Id, holder_id: Id, weight: Weight | None = None, *, at: Instant | None = None) -> None:
        """
        Record that a hold starts at `at` (now).
        """
    def record_stop(self, /, token_id: Id, holder_id: Id, *, at: Instant | None = None) -> None:
        """
        Record that the oldest open hold of one token by one holder ends at `at` (now): the one with the
        earliest start, of equal ones the first recorded.

        Raises
        ------
        HoldMetricsError
            When none is open, or `at` is before its start; it then stays open.
        """
    def snapshot(self, /, *, at: Instant | None = None) -> list[tuple[str, float]]:
        """
        The score of every holder by `at` (now), in order of id. Collected holds count in full.
        """
    def snapshot_exact(self, /, *, at: Instant | None = None) -> list[tuple[str, int, str]]:
        """
        As `snapshot`, with every digit: (holder_id, microseconds held, score).
        """
    def to_state(self, /) -> str:
        """
        The whole state as text, with a format version and a checksum.
        """
    def top_n(self, /, n: int, *, at: Instant | None = None) -> list[tuple[str, float]]:
        """
        The `n` holders with the highest scores by `at` (now), the highest first.
        """

@final
class HoldEvent:
    """
    One hold of one token by one holder over the half-open interval [start, end).

    Parameters
    ----------
    token_id, holder_id
        What is held and by whom: a str, or an int, which counts as its digits.
    start, end
        An aware datetime, epoch seconds (int or float) or a numpy datetime64. No end: the hold is
        open and accrues until the instant asked about.
    weight
        How much is held, zero or more: an int, float, Decimal, decimal str or 32 bytes
        (big-endian). A float counts as its shortest decimal form. None is 1.
    tz
        The time zone of datetimes and numpy datetime64 that name none. None: they are read as UTC,
        datetimes with a warning.
    strict
        Refuse them.

    Raises
    ------
    HoldMetricsError
        With the name of the field that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import HoldEvent
    >>> HoldEvent(token_id="punk-7", holder_id="alice", start=0, end=60, weight="2.5")
    HoldEvent(token_id='punk-7', holder_id='alice', start=1970-01-01T00:00:00+00:00, end=1970-01-01T00:01:00+00:00, weight=2.5)
    """
    def __eq__(self, other: object, /) -> bool: ...
    @staticmethod
    def __get_pydantic_core_schema__(source: "object", handler: "object", /) -> "object":
        """
        What pydantic needs to take events as fields of models; asks for pydantic only then.
        """
    def __hash__(self, /) -> int: ...
    def __new__(cls, /, token_id: Id, holder_id: Id, start: Instant, end: Instant | None = None, weight: Weight | None = None, *, tz: Zone | None = None, strict: bool = False) -> HoldEvent: ...
    def __reduce__(self, /) -> "tuple[object, ...]": ...
    def __repr__(self, /) -> str: ...
    @staticmethod
    def _from_parts(token_id: str, holder_id: str, start_us: SupportsIndex, end_us: SupportsIndex, weight: str) -> HoldEvent:
        """
        An event from what pickle kept of one.
        """
    @property
    def end(self, /) -> datetime | None:
        """
        The first instant after the hold, in UTC; None while it is open.
        """
    @property
    def end_us(self, /) -> int | None:
        """
        The end in microseconds since 1970 UTC; None while the hold is open.
        """
    @property
    def holder_id(self, /) -> str:
        """
        Who holds it.
        """
    @property
    def start(self, /) -> datetime:
        """
        The first instant of the hold, in UTC.
        """
    @property
    def start_us(self, /) -> int:
        """
        The start in microseconds since 1970 UTC.
        """
    @property
    def token_id(self, /) -> str:
        """
        What is held.
        """
    @property
    def weight(self, /) -> float:
        """
        How much is held, as the nearest float.
        """
    @property
    def weight_exact(self, /) -> Decimal:
        """
        How much is held, every digit.
        """

@final
class HoldMetricsError(ValueError):
    """
    Input that is not valid: `row` (from 0) and `field` say where, and are None where that is not known.
    """
    def __new__(cls, /, message: str, row: SupportsIndex | None = None, field: str | None = None) -> HoldMetricsError: ...
    def __str__(self, /) -> str: ...
    @property
    def field(self, /) -> str | None:
        """
        The column.
        """
    @property
    def message(self, /) -> str: ...
    @property
    def row(self, /) -> int | None:
        """
        The row of the input, from 0.
        """

@final
class Holds:
    """
    A table of holds, read once and asked many times.

    Parameters
    ----------
    data
        An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays), or a
        table with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB). Keys and columns
        are `holder_id`, `token_id`, `start`, `end` and `weight`; without `end` every hold is open,
        without `weight` every weight is 1.
    scale
        Digits after the decimal point that weights keep, 0 to 18.
    rounding
        Digits beyond the scale are an error, or rounded with "half-even".
    tz
        The zone of instants that name none: an IANA name or a tzinfo. Without it they are read as
        UTC, and for Python's datetimes with one warning.
    strict
        Refuse instants that name no time zone, also those of numpy and Arrow, where tz names none.

    Raises
    ------
    HoldMetricsError
        With the `row` (from 0) and the `field` that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import Holds
    >>> holds = Holds({"holder_id": ["alice", "bob"], "token_id": ["t", "t"],
    ...                "start": [0, 10], "end": [10, None]})
    >>> holds.score(at=25).to_pylist()[1]["total_seconds"]
    15.0
    """
    def __len__(self, /) -> int: ...
    def __new__(cls, /, data: Data, *, scale: SupportsIndex = 9, rounding: Rounding | None = None, tz: Zone | None = None, strict: bool = False) -> Holds: ...
    def __repr__(self, /) -> str: ...
    def amend(self, /, event: HoldEvent, corrected: HoldEvent) -> None:
        """
        Put `corrected` in the place of one hold that is equal to `event`.

        Raises
        ------
        HoldMetricsError
            When no hold is equal.
        """
    def average_balance(self, /, start: Instant, end: Instant, *, by: By = ..., overlap: Overlap = ...) -> Table:
        """
        The time-weighted average of what each holder (token, pair) held within [start, end).

        Returns
        -------
        Table
            The ids and `average_balance`: seconds times weight, divided by the window's seconds,
            rounded once to a float.

        Raises
        ------
        HoldMetricsError
            For a window that is empty or ends before it starts.
        """
    def between(self, /, t0: Instant, t1: Instant, *, by: By = ..., overlap: Overlap = ..., boost: Boost | None = None) -> Scores:
        """
        The scores of the time within [t0, t1), as of t1.
        """
    @property
    def clipped(self, /) -> int:
        """
        Transfer logs that moved more than there was, with `from_transfers(on_negative="clip")`.
        """
    def close(self, /, *, holder_id: Id, token_id: Id, at: Instant) -> int:
        """
        End every open hold of one token by one holder; returns how many there were.

        Raises
        ------
        HoldMetricsError
            When none is open, or `at` is before the start of one.
        """
    def epochs(self, /, *, every: Every, start: Instant, tz: Zone | None = None, at: Instant | None = None, by: By = ..., overlap: Overlap = ..., boost: Boost | None = None, finalized_before: Instant | None = None) -> Table:
        """
        Scores by epoch: consecutive windows of one length, from `start` up to `at`.

        Parameters
        ----------
        every
            The length: a timedelta or a number of seconds, or calendar lengths in the time zone as
            "1d", "2w" or "3mo". Days have 23 or 25 hours where clocks change.
        start
            Where the first epoch starts.
        tz
            The time zone of calendar lengths, and of instants here that name none: an IANA name or a
            ZoneInfo; None is UTC.
        at
            The instant of the answer; None reads the clock once. The last epoch may reach past it
            and has no later time yet.
        finalized_before
            An instant before which no event can change any more: epochs that end at or before it,
            and at or before `at`, are `final`. None: no epoch is.

        Returns
        -------
        Table
            A row for each holder (token, pair) and epoch with any time held: `epoch` (from 0),
            `epoch_start`, `epoch_end`, `final`, and the columns of `Scores`.
        """
    def extend(self, /, data: Data, *, tz: Zone | None = None, strict: bool = False) -> None:
        """
        Add more holds, in any of the forms that `Holds` takes; all of them or, on an error, none.
        """
    def holders_over_time(self, /, *, at: Instant | None = None) -> Table:
        """
        How many holders hold anything, from each instant on at which that changes, up to `at`.

        Returns
        -------
        Table
            `instant` and `holders`: the state at t is that of the last instant at or before t. A
            weight of 0 is not holding.
        """
    def leaderboard(self, /, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None) -> Scores:
        """
        All scores, the highest first; equal scores in order of id. Keywords as of `score`.
        """
    def longest_hold(self, /, *, at: Instant | None = None) -> Table:
        """
        The longest unbroken run of each holder with one token, as of `at`; of equal ones the
        earliest. Holds that touch or overlap are one run.

        Returns
        -------
        Table
            `holder_id`, `token_id`, `start`, `end` and `seconds`, for each holder that held anything.
        """
    @staticmethod
    def read(*paths: "object", scale: "int" = 9, rounding: "Rounding | None" = None, tz: "Zone | None" = None, strict: "bool" = False, progress: "Progress | None" = None) -> Holds:
        """
        The holds of files: CSV with a header, JSON lines (.jsonl, .ndjson) or Parquet.

        Parameters
        ----------
        paths
            One path or several. The columns or keys are those of `Holds`; others are not read.
            Instants are RFC 3339 text, epoch seconds or, in Parquet, timestamps. In text files an
            empty end is an open hold and an empty weight is 1. Numbers of JSON are read digit by
            digit.
        scale, rounding, tz, strict
            As for `Holds`; an instant of text without an offset and a timestamp of Parquet without a
            zone name no zone.
        progress
            Called with the number of bytes read so far, every so often.

        Raises
        ------
        HoldMetricsError
            With the file, and the row and field or the line that is not valid.
        """
    @property
    def repeated(self, /) -> int:
        """
        Rows of `from_transfers` that gave a log once more, and count once.
        """
    def retract(self, /, event: HoldEvent) -> None:
        """
        Take away one hold that is equal to `event`. Looks through the whole table.

        Raises
        ------
        HoldMetricsError
            When no hold is equal.
        """
    @property
    def scale(self, /) -> int:
        """
        Digits after the decimal point that weights keep.
        """
    def score(self, /, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None, columns: Columns | None = None, threads: int | None = None) -> Scores:
        """
        How much was held, by whom, for how long.

        Parameters
        ----------
        by
            One row a "holder", a "token", or a pair of them ("both").
        overlap
            What holds of one holder and one token that overlap count: "sum" (lots add up), "union"
            (an instant counts once, with weight 1) or "max" (once, with the heaviest weight).
        at
            The instant of the answer; all later time is cut off, and open holds accrue until it.
            None reads the clock once; the answer says which instant that was.
        start, end
            Only time within [start, end) counts.
        boost
            A multiplier by the age of a hold.
        columns
            The names of the columns that are wanted, in their order; None for all. Without
            total_seconds and updated_at there is less to do for each hold.
        threads
            None for one a processor. The answer is the same for any number.

        Returns
        -------
        Scores
            A row for each holder (token, pair) of the table, in order of first appearance.
        """
    def share(self, /, pot: int, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None) -> Shares:
        """
        Divide a pot of whole units in proportion to the scores, as `Scores.share` does. Keywords as
        of `score`.

        Examples
        --------
        >>> from poh_holdmetrics import Holds
        >>> holds = Holds([{"holder_id": who, "token_id": "t", "start": 0} for who in "ab"])
        >>> holds.share(11, at=10)
        {'a': 6, 'b': 5}
        """
    def snapshot(self, /, *, at: Instant, by: By = ..., overlap: Overlap = ..., boost: Boost | None = None) -> Scores:
        """
        The scores as of one instant: `score` with an `at` that must be named.
        """
    def to_table(self, /, *, holder_id: Id | None = None) -> Table:
        """
        The holds themselves: `holder_id`, `token_id`, `start`, `end` and `weight` (text, every
        digit).

        Parameters
        ----------
        holder_id
            Only the holds of this holder; none for one that is not known.
        """
    def top_n(self, /, n: int, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None) -> Scores:
        """
        The `n` highest scores, the highest first; equal scores in order of id. Keywords as of
        `score`.
        """

@final
class MerkleDistributor:
    """
    A Merkle tree of claims in the format of Uniswap's merkle-distributor, where each has an index:
    its place in the order of the addresses' text with its checksum, as Uniswap's script numbers them.

    Examples
    --------
    >>> from poh_holdmetrics import MerkleDistributor
    >>> tree = MerkleDistributor.of([("0x" + "22" * 20, 250), ("0x" + "11" * 20, 500)])
    >>> claims = tree.dump()["claims"]
    >>> claims["0x" + "11" * 20]["index"], claims["0x" + "11" * 20]["amount"]
    (0, '0x01f4')
    """
    def __len__(self, /) -> int: ...
    def dump(self, /) -> Json:
        """
        `merkleRoot`, `tokenTotal` and the `claims` by address, as the distributor's web service
        reads them.
        """
    def get_proof(self, /, index: SupportsIndex) -> list[str]:
        """
        The proof of the claim with an index.
        """
    @staticmethod
    def load(data: Json) -> MerkleDistributor:
        """
        A tree from what `dump` or another script gave, checked in full. Claims keep their indexes,
        whatever the order of their addresses.

        Raises
        ------
        HoldMetricsError
            Where a part is of another form, or is not what the claims make.
        """
    @staticmethod
    def of(values: Leaves) -> MerkleDistributor:
        """
        A tree of claims: pairs of an address (0x and 40 digits) and a whole amount.
        """
    @property
    def root(self, /) -> str:
        """
        The hash that the contract keeps, as 0x and 64 digits.
        """
    def verify(self, /, index: SupportsIndex, leaf: Leaf, proof: SupportsGetItem[int, str]) -> bool:
        """
        Whether a proof leads from the claim with an index, an (address, amount), to this root.
        """

@final
class Scores:
    """
    The answer to a question: one row for each holder (token, pair), in order of first appearance.

    Columns: `holder_id` and `token_id` (as asked by `by`), `total_seconds` (float),
    `weighted_score` (float, seconds times weight), `weighted_score_exact` (str, every digit) and
    `updated_at` (datetime in UTC of the last start or end at or before `at`, or None; epoch seconds
    where Python's calendar ends). Floats are rounded once, from the exact total.

    Give it to any library that reads the Arrow PyCapsule interface, as `pyarrow.table(scores)`,
    `polars.DataFrame(scores)` or DuckDB, or take it as dicts.
    """
    def __arrow_c_stream__(self, /, requested_schema: Capsule | None = None) -> Capsule:
        """
        The rows as an Arrow stream (the Arrow PyCapsule interface).
        """
    def __getitem__(self, row: SupportsIndex, /) -> Record: ...
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    def _events(self, /) -> Leaves:
        """
        The events behind this answer, for a bundle.
        """
    def _parameters(self, /) -> Json:
        """
        The question of this answer, for a bundle.
        """
    def amounts(self, /, *, unit: Weight) -> Shares:
        """
        Each row's score as a whole number of units, with its id: what a Merkle tree is made of.

        Parameters
        ----------
        unit
            The size of a unit: with "0.000000001" (10**-9) a score of 1.5 is 1,500,000,000 units.

        Raises
        ------
        HoldMetricsError
            For a score that is not a whole number of units.

        Examples
        --------
        >>> from poh_holdmetrics import score
        >>> row = {"holder_id": "0xa", "token_id": "t", "start": 0, "weight": "0.5"}
        >>> score([row], at=3).amounts(unit="1e-9")
        {'0xa': 1500000000}
        """
    @property
    def at(self, /) -> datetime:
        """
        The instant of the answer, in UTC: give it as `at` to have the same answer again.
        """
    @property
    def at_us(self, /) -> int:
        """
        The instant of the answer in microseconds since 1970 UTC.
        """
    @property
    def columns(self, /) -> list[str]:
        """
        The names of the columns.
        """
    def leaderboard(self, /) -> Scores:
        """
        All rows, the highest score first; equal scores in order of id.
        """
    def proof_bundle(self, /, path: str | PathLike[str], *, unit: Weight | None = None) -> None:
        """
        Write a bundle that `poh_holdmetrics verify` computes anew: the events, the question, these
        scores, and the root of the Merkle tree of their claims where holder ids are addresses.

        Parameters
        ----------
        path
            A file, which is there whole or not at all.
        unit
            The size of one unit of a claim, as in `amounts`; without it the largest power of ten
            of which every possible score is a whole number.
        """
    def share(self, /, pot: int) -> Shares:
        """
        Divide a pot of whole units in proportion to the scores.

        The shares add up exactly to the pot: quotas are rounded down and the units left go to the
        largest remainders, of equal ones to the smaller id (the method of Hamilton).

        Parameters
        ----------
        pot
            Whole units, 0 to 2**256 - 1.

        Returns
        -------
        dict
            Units by holder id (by token id where rows are tokens).

        Examples
        --------
        >>> from poh_holdmetrics import score
        >>> rows = [{"holder_id": who, "token_id": "t", "start": 0} for who in ("a", "b", "c")]
        >>> score(rows, at=10).share(100)
        {'a': 34, 'b': 33, 'c': 33}
        """
    def to_pandas(self, /) -> Frame:
        """
        The rows as a `pandas.DataFrame`; needs pandas and pyarrow.
        """
    def to_polars(self, /) -> Frame:
        """
        The rows as a `polars.DataFrame`; needs polars.
        """
    def to_pylist(self, /) -> list[Record]:
        """
        The rows as dicts.
        """
    def top_n(self, /, n: int) -> Scores:
        """
        The `n` rows with the highest scores, the highest first; equal scores in order of id.
        """
    @property
    def total_microseconds(self, /) -> list[int]:
        """
        The time held of each row, in whole microseconds.
        """
    @property
    def updated_at_us(self, /) -> list[int | None]:
        """
        The instant of `updated_at` of each row in microseconds since 1970 UTC, or None.
        """
    def write_parquet(self, /, path: str | PathLike[str]) -> None:
        """
        Write the rows as a Parquet file, which is there whole or not at all.
        """

@final
class StandardMerkleTree:
    """
    A Merkle tree of (address, uint256) in the format of OpenZeppelin's StandardMerkleTree, whose
    proofs OpenZeppelin's MerkleProof contract accepts.

    Examples
    --------
    >>> from poh_holdmetrics import StandardMerkleTree
    >>> claims = [("0x" + "11" * 20, 5000000000000000000), ("0x" + "22" * 20, 2500000000000000000)]
    >>> tree = StandardMerkleTree.of(claims)
    >>> tree.root
    '0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77'
    >>> tree.verify(claims[0], tree.get_proof(0))
    True

    Who has the root and no tree can check a proof too:

    >>> root, proof = tree.root, tree.get_proof(0)
    >>> StandardMerkleTree.verify_by_root(root, ["address", "uint256"], claims[0], proof)
    True
    >>> StandardMerkleTree.verify_by_root(root, ["address", "uint256"], claims[1], proof)
    False
    """
    def __len__(self, /) -> int: ...
    def dump(self, /) -> Json:
        """
        The tree as a JSON object, as OpenZeppelin's `dump`.
        """
    def get_multi_proof(self, /, leaves: Leaves) -> Json:
        """
        One proof of several claims: a dict of `leaves` (claims in the order that the proof takes
        them), `proof` and `proofFlags`.
        """
    def get_proof(self, /, leaf: Leaf) -> list[str]:
        """
        The proof of one claim, named by its number or by its (address, amount).
        """
    @staticmethod
    def load(data: Json) -> StandardMerkleTree:
        """
        A tree from what `dump` gave, checked in full.

        Raises
        ------
        HoldMetricsError
            Where the dump is of another format, or a node is not the hash of what is under it.
        """
    @staticmethod
    def of(values: Leaves, leaf_encoding: LeafEncoding | None = None) -> StandardMerkleTree:
        """
        A tree of claims: pairs of an address (0x and 40 digits) and a whole amount.

        Parameters
        ----------
        values
            The claims; the tree keeps their order.
        leaf_encoding
            ["address", "uint256"], as OpenZeppelin's `of` asks for; it is the only one.
        """
    @property
    def root(self, /) -> str:
        """
        The hash that the contract keeps, as 0x and 64 digits.
        """
    def verify(self, /, leaf: Leaf, proof: SupportsGetItem[int, str]) -> bool:
        """
        Whether a proof leads from a claim to this root.
        """
    @staticmethod
    def verify_by_root(root: str, leaf_encoding: LeafEncoding, leaf: Leaf, proof: SupportsGetItem[int, str]) -> bool:
        """
        Whether a proof leads from a claim to a root, for who has no tree: OpenZeppelin's static
        `verify(root, leafEncoding, leaf, proof)`.

        Parameters
        ----------
        root
            The hash that the contract keeps.
        leaf_encoding
            ["address", "uint256"]; it is the only one.
        leaf
            The claim: its address and amount.
        proof
            The hashes, as `get_proof` gives them.
        """
    def verify_multi_proof(self, /, multi_proof: Json) -> bool:
        """
        Whether a proof of several claims, as `get_multi_proof` gives it, leads to this root.
        """
    @staticmethod
    def verify_multi_proof_by_root(root: str, leaf_encoding: LeafEncoding, multi_proof: Json) -> bool:
        """
        Whether a proof of several claims, as `get_multi_proof` gives it, leads to a root, for who has no
        tree: OpenZeppelin's static `verifyMultiProof(root, leafEncoding, multiProof)`.
        """

@final
class Table:
    """
    A table of an answer, held in Arrow's memory format.

    Give it to any library that reads the Arrow PyCapsule interface, as `pyarrow.table(table)`,
    `polars.DataFrame(table)` or DuckDB, or take it as dicts.
    """
    def __arrow_c_stream__(self, /, requested_schema: Capsule | None = None) -> Capsule:
        """
        The rows as an Arrow stream (the Arrow PyCapsule interface).
        """
    def __getitem__(self, row: SupportsIndex, /) -> Record:
        """
        One row, a negative number from the end.
        """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    @property
    def at_us(self, /) -> int | None:
        """
        The instant of the answer in microseconds since 1970 UTC, with `/ 10**6` the `at` that has the
        same answer again; None for a table that is not about an instant.
        """
    @property
    def columns(self, /) -> list[str]:
        """
        The names of the columns.
        """
    def to_pandas(self, /) -> Frame:
        """
        The rows as a `pandas.DataFrame`; needs pandas and pyarrow.
        """
    def to_polars(self, /) -> Frame:
        """
        The rows as a `polars.DataFrame`; needs polars.
        """
    def to_pylist(self, /) -> list[Record]:
        """
        The rows as dicts.
        """
    def write_parquet(self, /, path: str | PathLike[str]) -> None:
        """
        Write the rows as a Parquet file, which is there whole or not at all.
        """

def build_info() -> dict[str, str]:
    """
    How this module was built: `version`, `profile` ("release" or "debug"), `target` (the
    triple) and `panic` ("unwind": a panic reaches Python as an exception).
    """

def calculate_score(events: Data) -> float:
    """
    Seconds times weight of all events together; overlaps add up, open holds accrue until now, closed
    ones count in full, also where they end later.

    The sum is exact and rounded once. Weights keep nine digits after the point.

    Examples
    --------
    >>> from poh_holdmetrics.calculator import calculate_score
    >>> from poh_holdmetrics import HoldEvent
    >>> calculate_score([HoldEvent("t", "a", 0, 10), HoldEvent("t", "a", 5, 15)])
    20.0
    """

def epochs(data: Source, *, every: Every, start: Instant, tz: Zone | None = None, at: Instant | None = None, by: By = ..., overlap: Overlap = ..., boost: Boost | None = None, finalized_before: Instant | None = None, threads: int | None = None, scale: SupportsIndex = 9, rounding: Rounding | None = None, data_tz: Zone | None = None, strict: bool = False, memory: int | None = None, progress: Progress | None = None) -> Table:
    """
    Scores by epoch: the short form of `Holds(data).epochs(...)`.

    Files may be larger than memory. Holds are kept until all are read, 24 to 56 bytes each: past
    `memory` they go to temporary files, part by part of the holders. Beside them there is the answer.

    Parameters
    ----------
    data, scale, rounding, memory, progress
        As for `score`.
    every, start, tz, at, by, overlap, boost, finalized_before
        As for `Holds.epochs`.
    data_tz, strict
        The zone of instants of the data that name none (tz is that of the epochs), and whether they
        are refused where data_tz names none.

    Examples
    --------
    >>> from poh_holdmetrics import epochs
    >>> row = {"holder_id": "alice", "token_id": "t", "start": 0, "end": 90_000}
    >>> table = epochs([row], every="1d", start=0, at=10**6)
    >>> [row["total_seconds"] for row in table.to_pylist()]
    [86400.0, 3600.0]
    """

def finish(state: State, *, at: Instant | None = None) -> Scores:
    """
    The scores that a state comes to. Rows of the same id are added up, so that a state may come in
    pieces.

    Parameters
    ----------
    state
        What `partial` or `merge` gave, or several of them one below the other, as a table with the
        Arrow PyCapsule interface.
    at
        The instant of the answer. A state knows it: it is needed only where there may be no row.

    Returns
    -------
    Scores
        In order of holder, then token id, with the same bits as on one machine.

    Raises
    ------
    HoldMetricsError
        For a table that is no state, or a state of another instant than `at`.

    Examples
    --------
    >>> from poh_holdmetrics import finish, partial
    >>> state = partial([{"holder_id": "a", "token_id": "t", "start": 0}], at=9)
    >>> finish(state).to_pylist()[0]["total_seconds"]
    9.0
    """

def from_transfers(data: Data, *, standard: Standard = ..., lots: Lots = ..., on_negative: OnNegative = ..., decimals: SupportsIndex = 0) -> Holds:
    """
    Token transfer logs as holds.

    Logs may come in any order; they count in order of (block_number, log_index). A log that is given
    twice, as by exports that overlap, counts once (`Holds.repeated`); with "erc1155", where one log
    has a row for each id, give each once. Mints come from the zero address and burns go to it; a
    self-transfer changes nothing. Hexadecimal addresses count in lower case.

    Parameters
    ----------
    data
        Logs as an iterable of dicts, a dict of columns or a table with the Arrow PyCapsule
        interface, with the columns of ethereum-etl's token_transfers: token_address, from_address,
        to_address, value, block_timestamp, block_number, log_index; and token_id for ERC-1155.
    standard
        "erc20" (value is an amount), "erc721" (value, or token_id, is the id of the thing) or
        "erc1155" (value is an amount of token_id). With ids the token of a hold is "address/id".
    lots
        "balance": one hold for each stretch of time with one balance. "fifo" and "lifo": one hold
        for each lot received, the oldest or the newest leaving first, for boosts by age.
    on_negative
        What to do when a holder sends more than it has: "error" names the log, "clip" leaves the
        sender with nothing, gives the receiver all of it, and counts (`Holds.clipped`).
    decimals
        Weights are amounts of 10**-decimals, 0 to 18.

    Returns
    -------
    Holds

    Examples
    --------
    >>> from poh_holdmetrics import from_transfers
    >>> zero = "0x" + "0" * 40
    >>> log = {"token_address": "0xt", "block_number": 1, "log_index": 0, "block_timestamp": 0}
    >>> holds = from_transfers([
    ...     log | {"from_address": zero, "to_address": "0xa", "value": 10},
    ...     log | {"from_address": "0xa", "to_address": "0xb", "value": 4, "block_number": 2,
    ...            "block_timestamp": 100},
    ... ])
    >>> [(row["holder_id"], row["weighted_score_exact"])
    ...  for row in holds.score(at=200).to_pylist()]
    [('0xa', '1600'), ('0xb', '400')]
    """

def merge(states: Leaves) -> Table:
    """
    Add up states that `partial` made of parts of the holds, to one state.

    Parameters
    ----------
    states
        Tables with the Arrow PyCapsule interface, in any order; what `merge` gave too.

    Returns
    -------
    Table
        A state, in order of holder, then token id: the same bits for any parts.

    Raises
    ------
    HoldMetricsError
        For a table that is no state, and for states of different instants.

    Examples
    --------
    >>> from poh_holdmetrics import finish, merge, partial
    >>> day = [{"holder_id": "a", "token_id": "t", "start": 0, "end": 2}]
    >>> so_far = partial(day, at=9)
    >>> for _ in range(2):
    ...     so_far = merge([so_far, partial(day, at=9)])
    >>> finish(so_far)[0]["total_seconds"]
    6.0
    """

def parse_instant(text: str, *, tz: str) -> "datetime | float":
    """
    An instant as the command takes it: RFC 3339 or epoch seconds; where it names no zone it is in `tz`.
    """

def partial(data: Source, *, at: Instant, by: By = ..., overlap: Overlap = ..., start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None, threads: int | None = None, scale: SupportsIndex = 9, rounding: Rounding | None = None, tz: Zone | None = None, strict: bool = False, memory: int | None = None, progress: Progress | None = None) -> Table:
    """
    The exact sums of a part of the holds, as a state that `merge` adds to those of other parts: `score`
    as an Arrow table that travels.

    With overlap "union" and "max" all holds of one holder must be in one part.

    Parameters
    ----------
    data
        The part: anything that `score` takes.
    at
        The instant of the answer, the same for every part; a state keeps it.
    by, overlap, start, end, boost, threads, scale, rounding, tz, strict, memory, progress
        As for `score`, the same for every part.

    Returns
    -------
    Table
        A row for each holder (token, pair) of the part.

    Examples
    --------
    >>> from poh_holdmetrics import finish, merge, partial
    >>> parts = [[{"holder_id": "a", "token_id": "t", "start": n, "end": n + 2}] for n in range(3)]
    >>> finish(merge(partial(part, at=9) for part in parts))[0]["total_seconds"]
    6.0
    """

def read_transfers(*paths: "object", standard: "Standard" = ..., lots: "Lots" = ..., on_negative: "OnNegative" = ..., decimals: "int" = 0, progress: "object" = None) -> Holds:
    """
    The token transfer logs of files as holds: CSV with a header, JSON lines (.jsonl, .ndjson) or
    Parquet.

    Parameters
    ----------
    paths
        One path or several; logs may be in any file and in any order. The columns or keys are those
        of `from_transfers`; others are not read. Numbers of JSON are read digit by digit.
    standard, lots, on_negative, decimals
        As for `from_transfers`.
    progress
        Called with the number of bytes read so far, every so often.

    Raises
    ------
    HoldMetricsError
        With the file, and the log (from 0, in that file) or the line that is not valid.
    """

def recompute(events: Leaves, parameters: Json) -> Scores:
    """
    The answer to the question `parameters`, anew from events as a bundle has them.
    """

def score(data: Source, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, boost: Boost | None = None, columns: Columns | None = None, threads: int | None = None, scale: SupportsIndex = 9, rounding: Rounding | None = None, tz: Zone | None = None, strict: bool = False, memory: int | None = None, progress: Progress | None = None) -> Scores:
    """
    How much was held, by whom, for how long: the short form of `Holds(data).score(...)`.

    Files and Arrow streams may be larger than memory: they are read in batches, of which only
    sums are kept where lots add up and rows are holders or tokens. Columns of Parquet that the
    question does not ask for are not read, nor checked: the token with overlap "sum" unless rows
    are tokens or pairs, and the weight with "union".

    Parameters
    ----------
    data
        An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays), or a
        table or stream with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB), with
        the keys or columns holder_id, token_id, start, end and weight; a `Holds`; or the path of a
        file (CSV, JSON lines, Parquet), or a list or tuple of paths.
    by
        One row a "holder", a "token", or a pair of them ("both").
    overlap
        What holds of one holder and one token that overlap count: "sum" (lots add up), "union" (an
        instant counts once, with weight 1) or "max" (once, with the heaviest weight).
    at
        The instant of the answer: all later time is cut off, and open holds accrue until it. None
        reads the clock once; `Scores.at` says which instant that was.
    start, end
        Only time within [start, end) counts.
    boost
        A multiplier by the age of a hold.
    columns
        The names of the columns that are wanted, in their order, as ["holder_id",
        "weighted_score_exact"]; None for all. Without total_seconds and updated_at there is less to do
        for each hold.
    threads
        None for one a processor. The answer is the same for any number.
    scale, rounding
        As for `Holds`; a `Holds` has its own.
    tz, strict
        The zone of instants that name none, in the data (files too) and in at, start and end; and
        whether they are refused where tz names none. As for `Holds`; a `Holds` has been read already.
    memory
        Bytes of a file's or stream's holds that are kept before they go to temporary files, where
        holds have to meet: with "union" and "max", and for pairs. 20 to 56 bytes a hold; the whole
        work needs about twice as much. None is 1 GiB.
    progress
        Called with the number of bytes of files read so far, every so often.

    Raises
    ------
    HoldMetricsError
        With the row and the field that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import score
    >>> rows = [
    ...     {"holder_id": "alice", "token_id": "t", "start": 0, "end": 10},
    ...     {"holder_id": "alice", "token_id": "t", "start": 5, "end": 15},
    ... ]
    >>> score(rows, at=100)[0]["total_seconds"]
    20.0
    >>> score(rows, at=100, overlap="union")[0]["total_seconds"]
    15.0
    >>> score(rows, at=100, columns=["holder_id", "weighted_score_exact"]).to_pylist()
    [{'holder_id': 'alice', 'weighted_score_exact': '20'}]
    """

def __getattr__(name: str) -> Incomplete: ...
