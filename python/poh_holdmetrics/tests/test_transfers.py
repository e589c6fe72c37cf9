"""Transfer logs to holds."""

from collections import deque
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldMetricsError, from_transfers

ZERO = "0x" + "0" * 40
DAY = 86_400


def log(sender, receiver, value, block, index=0, **changes):
    return {
        "token_address": "0xT0",
        "from_address": sender,
        "to_address": receiver,
        "value": value,
        "block_timestamp": block * 10,
        "block_number": block,
        "log_index": index,
    } | changes


def exact(holds, **query):
    rows = holds.score(**{"at": 100} | query).to_pylist()
    return {row["holder_id"]: row["weighted_score_exact"] for row in rows}


def holds_of(holds):
    return [
        (
            row["holder_id"],
            row["start"].timestamp(),
            row["end"] and row["end"].timestamp(),
            row["weight"],
        )
        for row in holds.to_table().to_pylist()
    ]


def test_balances():
    holds = from_transfers([log(ZERO, "a", 10, 1), log("a", "b", 4, 3), log("b", ZERO, 4, 5)])
    assert holds_of(holds) == [("a", 10, 30, "10"), ("b", 30, 50, "4"), ("a", 30, None, "6")]


def test_lots_by_age():
    logs = [log(ZERO, "a", 10, 1), log(ZERO, "a", 5, 2), log("a", "b", 12, 4)]
    assert holds_of(from_transfers(logs, lots="fifo")) == [
        ("a", 10, 40, "10"),
        ("a", 20, 40, "2"),
        ("a", 20, None, "3"),
        ("b", 40, None, "12"),
    ]
    assert holds_of(from_transfers(logs, lots="lifo"))[2] == ("a", 10, None, "3")


def test_boosts_see_the_age_of_a_lot():
    logs = [
        log(ZERO, "a", 1, 1, block_timestamp=0),
        log(ZERO, "a", 1, 2, block_timestamp=50 * DAY),
    ]
    boost = Boost([(60, 2)])
    of = {
        lots: Fraction(exact(from_transfers(logs, lots=lots), at=100 * DAY, boost=boost)["a"]) / DAY
        for lots in ("balance", "fifo")
    }
    assert of == {"balance": 50 + 100, "fifo": 60 + 80 + 50}


def test_order_is_by_block_and_log_index():
    logs = [log("a", "b", 10, 2, 1), log(ZERO, "a", 10, 2, 0), log("b", "c", 10, 2, 2)]
    assert holds_of(from_transfers(logs)) == [("c", 20, None, "10")]


def test_self_transfers_keep_the_age():
    logs = [log(ZERO, "a", 10, 1), log("a", "a", 10, 3), log("a", "a", 99, 4)]
    for lots in ("balance", "fifo", "lifo"):
        assert holds_of(from_transfers(logs, lots=lots)) == [("a", 10, None, "10")]


def test_addresses_in_any_case():
    address = "0x" + "aB" * 20
    logs = [log(ZERO, address, 10, 1), log(address.lower(), "b", 10, 3)]
    assert holds_of(from_transfers(logs))[0] == (address.lower(), 10, 30, "10")


def test_standards():
    nft = [log(ZERO, "a", 7, 1), log(ZERO, "a", 8, 1, 1), log("a", "b", 7, 3)]
    table = from_transfers(nft, standard="erc721").to_table().to_pylist()
    assert [(row["holder_id"], row["token_id"], row["weight"]) for row in table] == [
        ("a", "0xT0/7", "1"),
        ("a", "0xT0/8", "1"),
        ("b", "0xT0/7", "1"),
    ]
    multi = [log(ZERO, "a", 5, 1, token_id=7), log(ZERO, "a", 6, 1, token_id=8)]
    table = from_transfers(multi, standard="erc1155").to_table().to_pylist()
    assert [(row["token_id"], row["weight"]) for row in table] == [("0xT0/7", "5"), ("0xT0/8", "6")]
    with pytest.raises(HoldMetricsError, match="transfer 0: token_id is missing"):
        from_transfers(nft, standard="erc1155")


def test_wei():
    holds = from_transfers([log(ZERO, "a", 2**256 - 1, 1)])
    assert exact(holds, at=12) == {"a": str((2**256 - 1) * 2)}
    ether = from_transfers([log(ZERO, "a", 15 * 10**17, 1)], decimals=18)
    assert exact(ether, at=12) == {"a": "3"}


def test_a_balance_below_zero():
    logs = [log(ZERO, "a", 10, 1), log("a", "b", 11, 2, 5), log("b", "c", 1, 3)]
    with pytest.raises(
        HoldMetricsError, match=r"transfer 1: a sends 11 .* has 10; .*block 2, log 5"
    ) as caught:
        from_transfers(logs)
    assert caught.value.row == 1
    clipped = from_transfers(logs, on_negative="clip")
    assert clipped.clipped == 1
    assert holds_of(clipped) == [
        ("a", 10, 20, "10"),
        ("b", 20, 30, "11"),
        ("b", 30, None, "10"),
        ("c", 30, None, "1"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": -1}, "value"),
        ({"value": 1.5}, "value"),
        ({"value": None}, "value is missing"),
        ({"value": 2**256}, "value"),
        ({"from_address": ""}, "from_address is empty"),
        ({"to_address": None}, "to_address is missing"),
        ({"block_timestamp": "soon"}, "block_timestamp is soon"),
        ({"block_number": "x"}, "block_number"),
        ({"block_timestamp": -5}, "time is before"),
    ],
)
def test_bad_logs_are_named(change, message):
    logs = [log(ZERO, "a", 1, 1), log(ZERO, "a", 1, 2) | change]
    with pytest.raises(HoldMetricsError, match=f"transfer 1: .*{message}"):
        from_transfers(logs)


def test_columns_and_arrow():
    logs = [log(ZERO, "a", 10, 1), log("a", "b", 4, 3)]
    columns = {name: [row[name] for row in logs] for name in logs[0]}
    assert holds_of(from_transfers(columns)) == holds_of(from_transfers(logs))
    with pytest.raises(HoldMetricsError, match="different lengths"):
        from_transfers(columns | {"value": [1]})
    with pytest.raises(HoldMetricsError, match='no column "value"'):
        from_transfers({name: columns[name] for name in columns if name != "value"})
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for kind in (pa.int64(), pa.string(), pa.decimal128(38, 0), pa.float64()):
        values = pa.array([str(value) for value in columns["value"]]).cast(kind)
        table = pa.table(columns | {"value": values})
        assert holds_of(from_transfers(table)) == holds_of(from_transfers(logs))
    with pytest.raises(HoldMetricsError, match="transfer 1: value"):
        from_transfers(pa.table(columns | {"value": [1, -4]}))


transfers = st.lists(
    st.tuples(
        st.sampled_from([ZERO, "a", "b", "c"]),
        st.sampled_from([ZERO, "a", "b", "c"]),
        st.integers(0, 20),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(transfers, st.randoms(use_true_random=False))
def test_against_a_plain_ledger(moves, random):
    """Balance x time, added up block by block; lots of any order make the same total."""
    logs, ledger, block = [], {"a": 0, "b": 0, "c": 0}, 0
    totals = dict.fromkeys(ledger, 0)
    for index, (sender, receiver, value, wait) in enumerate(moves):
        for holder, balance in ledger.items():
            totals[holder] += balance * wait * 10
        block += wait
        value = min(value, ledger.get(sender, value))
        if sender in ledger:
            ledger[sender] -= value
        if receiver in ledger:
            ledger[receiver] += value
        logs.append(log(sender, receiver, value, block, index))
    for holder, balance in ledger.items():
        totals[holder] += balance * 70
    random.shuffle(logs)
    for lots in ("balance", "fifo", "lifo"):
        found = exact(from_transfers(logs, lots=lots), at=block * 10 + 70)
        assert {holder: int(found.get(holder, 0)) for holder in ledger} == totals


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=20))
def test_fifo_against_a_queue(moves):
    logs, queue, expected = [], deque(), []
    for block, (value, sends) in enumerate(moves):
        if sends:
            value = min(value, sum(units for _, units in queue))
            logs.append(log("a", ZERO, value, block))
            while value:
                since, units = queue.popleft()
                gone = min(units, value)
                value -= gone
                expected.append((since * 10, block * 10, str(gone)))
                if units > gone:
                    queue.appendleft((since, units - gone))
        else:
            logs.append(log(ZERO, "a", value, block))
            queue.append((block, value))
    expected += [(since * 10, None, str(units)) for since, units in queue]
    assert [row[1:] for row in holds_of(from_transfers(logs, lots="fifo"))] == expected
