"""Transfer logs to holds."""

import csv
import json
import re
from collections import deque
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldMetricsError, from_transfers, read_transfers

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
    logs = [log(ZERO, "a", 10, 1), log("a", "a", 10, 3), log("a", "a", 4, 4)]
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
        ({"value": None}, "value is missing; every log has one"),
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
    for name in ("block_number", "log_index"):
        beyond = pa.array([1, 2**64], pa.decimal128(38, 0))
        with pytest.raises(HoldMetricsError, match=f"transfer 1: {name} is 18446744073709551616"):
            from_transfers(pa.table(columns | {name: beyond}))
    for ids in ([None, -5], [3, -5]):
        table = pa.table(columns | {"token_id": pa.array(ids, pa.int64())})
        with pytest.raises(HoldMetricsError, match="transfer 1: token_id is -5"):
            from_transfers(table)


def written(folder, name, logs):
    """Logs in a file of the format that its name says, with a column that nobody asks for."""
    rows = [row | {"transaction_hash": "0xfeed"} for row in logs]
    path = folder / name
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    else:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        # As BigQuery exports ethereum-etl's table: amounts as text, times as timestamps.
        columns["value"] = [str(value) for value in columns["value"]]
        columns["block_timestamp"] = pa.array(
            [at * 10**6 for at in columns["block_timestamp"]], pa.timestamp("us", "UTC")
        )
        parquet.write_table(pa.table(columns), path, row_group_size=1)
    return path


LOGS = [log(ZERO, "a", 2**255, 1), log("a", "b", 4, 3), log("b", ZERO, 4, 5)]


@pytest.mark.parametrize("name", ["logs.csv", "logs.jsonl", "logs.parquet"])
def test_files(tmp_path, name):
    path = written(tmp_path, name, LOGS)
    assert holds_of(read_transfers(path)) == holds_of(from_transfers(LOGS))
    halves = [
        written(tmp_path, "2" + name, LOGS[1:]),
        written(tmp_path, "1" + name, LOGS[:1]),
    ]
    assert holds_of(read_transfers(*halves)) == holds_of(from_transfers(LOGS))
    sizes = []
    read_transfers(path, progress=sizes.append)
    assert sizes == sorted(sizes)
    assert all(size <= path.stat().st_size for size in sizes)


@pytest.mark.parametrize("lots", ["balance", "fifo", "lifo"])
@pytest.mark.parametrize("standard", ["erc20", "erc721", "erc1155"])
def test_files_of_every_standard(tmp_path, standard, lots):
    ids = {} if standard == "erc20" else {"token_id": 7}
    value = 1 if standard == "erc721" else 5
    logs = [log(ZERO, "a", value, 1, **ids), log("a", "b", value, 3, **ids)]
    for name in ("logs.csv", "logs.jsonl", "logs.parquet"):
        found = read_transfers(written(tmp_path, name, logs), standard=standard, lots=lots)
        assert holds_of(found) == holds_of(from_transfers(logs, standard=standard, lots=lots))


def test_tables_of_several_standards():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = [log(ZERO, "a", 7, 1), log(ZERO, "a", 1, 2, token_id=8)]
    table = pa.table({name: [row.get(name) for row in rows] for name in rows[1]})
    found = from_transfers(table, standard="erc721").to_table().to_pylist()
    assert [row["token_id"] for row in found] == ["0xT0/7", "0xT0/8"]
    assert len(from_transfers(table, standard="erc20")) == 2
    with pytest.raises(HoldMetricsError, match="transfer 0: token_id is missing"):
        from_transfers(table, standard="erc1155")


def test_times_as_ethereum_etl_and_bigquery_write_them(tmp_path):
    for text in ("2024-01-01 00:00:10 UTC", "2024-01-01T00:00:10Z", "1704067210"):
        path = written(tmp_path, "logs.csv", [log(ZERO, "a", 5, 1, block_timestamp=text)])
        assert holds_of(read_transfers(path)) == [("a", 1_704_067_210, None, "5")]
    path = tmp_path / "old.csv"
    path.write_text("token_address,from_address,to_address,value,log_index,block_number\n", "utf-8")
    with pytest.raises(
        HoldMetricsError, match=r'old\.csv: .* "block_timestamp" of transfers; join it from'
    ):
        read_transfers(path)


@pytest.mark.parametrize("name", ["logs.csv", "logs.jsonl"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": -1}, "transfer 1: value is -1"),
        ({"value": "1.5"}, "value has 1 digits after the decimal point; it is a whole number"),
        ({"value": "0xff"}, 'transfer 1: value "0xff" is not a decimal number'),
        ({"value": ""}, "transfer 1: value is missing"),
        ({"value": str(2**256)}, "transfer 1: value is"),
        ({"to_address": ""}, "transfer 1: to_address is missing"),
        ({"block_timestamp": "soon"}, 'transfer 1: block_timestamp "soon" is not an instant'),
        ({"log_index": "x"}, "transfer 1: log_index"),
    ],
)
def test_bad_logs_of_files_are_named(tmp_path, name, change, message):
    path = written(tmp_path, name, [log(ZERO, "a", 1, 1), log(ZERO, "a", 1, 2) | change])
    with pytest.raises(HoldMetricsError, match=re.escape(message)) as caught:
        read_transfers(path)
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", 'no column "token_address"'),
        ("a.csv", "token_address,from_address\na\n", 'no column "to_address"'),
        ("a.jsonl", "{", "line 1: "),
        ("a.jsonl", "[]", "line 1: "),
        ("a.parquet", "PAR1", "Parquet"),
        ("a.txt", "", "the name says no format"),
    ],
)
def test_files_that_are_no_logs(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(HoldMetricsError, match=message) as caught:
        read_transfers(tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(HoldMetricsError, match=r"nowhere\.csv"):
        read_transfers(tmp_path / "nowhere.csv")


transfers = st.lists(
    st.tuples(
        st.sampled_from([ZERO, "a", "b", "c"]),
        st.sampled_from([ZERO, "a", "b", "c"]),
        st.integers(0, 20),
        st.integers(0, 3),
    ),
    max_size=25,
)


def booked(ledger, sender, receiver, value, *place):
    """Move as much as there is from one balance to another, and give the log of it."""
    value = min(value, ledger.get(sender, value))
    if sender in ledger:
        ledger[sender] -= value
    if receiver in ledger:
        ledger[receiver] += value
    return log(sender, receiver, value, *place)


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
        logs.append(booked(ledger, sender, receiver, value, block, index))
    for holder, balance in ledger.items():
        totals[holder] += balance * 70
    random.shuffle(logs)
    for lots in ("balance", "fifo", "lifo"):
        found = exact(from_transfers(logs, lots=lots), at=block * 10 + 70)
        assert {holder: int(found.get(holder, 0)) for holder in ledger} == totals


@settings(max_examples=200)
@given(transfers)
def test_a_hold_is_a_stretch_of_time_with_one_balance(moves):
    logs, ledger, block = [], {"a": 0, "b": 0, "c": 0}, 0
    stretches = {holder: [] for holder in ledger}

    def close_instant():
        for holder, balance in ledger.items():
            if not stretches[holder] or stretches[holder][-1][1] != balance:
                stretches[holder].append((block * 10, balance))

    for index, (sender, receiver, value, wait) in enumerate(moves):
        if wait:
            close_instant()
        block += wait
        logs.append(booked(ledger, sender, receiver, value, block, index))
    close_instant()
    expected = {
        (holder, since, until and until[0], str(balance))
        for holder, steps in stretches.items()
        for (since, balance), until in zip(steps, [*steps[1:], None], strict=True)
        if balance
    }
    found = holds_of(from_transfers(logs))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_balance_that_is_the_same_after_its_block_keeps_its_age():
    logs = [log(ZERO, "a", 5, 1), log("a", "b", 2, 3, 0), log("b", "a", 2, 3, 1)]
    assert holds_of(from_transfers(logs)) == [("a", 10, None, "5")]


def test_exports_that_overlap(tmp_path):
    expected = holds_of(from_transfers(LOGS))
    for rows in ([*LOGS, *LOGS[1:]], [LOGS[0], *LOGS, LOGS[2]]):
        found = from_transfers(rows)
        assert (holds_of(found), found.repeated) == (expected, 2)
    assert from_transfers(LOGS).repeated == 0
    one = written(tmp_path, "1.csv", LOGS[:2])
    two = written(tmp_path, "2.parquet", LOGS[1:])
    found = read_transfers(one, two)
    assert (holds_of(found), found.repeated) == (expected, 1)
    things = [log(ZERO, "a", 7, 1), log("a", "b", 7, 3)]
    found = from_transfers([*things, *things], standard="erc721")
    assert (len(found), found.repeated) == (2, 2)


def test_rows_of_a_batch_are_no_repetitions():
    batch = [log(ZERO, "a", 5, 1, token_id=7)] * 2
    found = from_transfers(batch, standard="erc1155", lots="fifo")
    assert (holds_of(found), found.repeated) == ([("a", 10, None, "5")] * 2, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"value": 9},
        {"from_address": "c"},
        {"to_address": "c"},
        {"token_address": "0xT1"},
        {"block_timestamp": 31},
    ],
)
def test_two_logs_at_one_place_are_named(tmp_path, change):
    logs = [log(ZERO, "a", 10, 1), log(ZERO, "b", 4, 3, 8), log(ZERO, "b", 4, 3, 8) | change]
    message = r"another log with other values has its place; .* \(block 3, log 8\)"
    with pytest.raises(HoldMetricsError, match="transfer 2: " + message) as caught:
        from_transfers(logs)
    assert caught.value.row == 2
    two = written(tmp_path, "2.jsonl", logs[2:])
    with pytest.raises(HoldMetricsError, match=r"2\.jsonl: transfer 0: " + message):
        read_transfers(written(tmp_path, "1.csv", logs[:2]), two)


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


def test_a_self_transfer_of_more_than_there_is():
    logs = [log(ZERO, "a", 10, 1), log("a", "a", 10, 2), log("a", "a", 11, 3)]
    assert holds_of(from_transfers(logs[:2])) == [("a", 10, None, "10")]
    with pytest.raises(HoldMetricsError, match=r"transfer 2: a sends 11 .* has 10"):
        from_transfers(logs)
    for lots in ("balance", "fifo", "lifo"):
        clipped = from_transfers(logs, lots=lots, on_negative="clip")
        assert (holds_of(clipped), clipped.clipped) == ([("a", 10, None, "10")], 1)


def test_logs_in_data_frames():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pd.DataFrame([log(ZERO, "a", 10**30, 1), log("a", "b", 1, 2)])
    # As pd.concat leaves it where one table has ids and the other has none.
    sparse = frame.assign(token_id=pd.Series([2**70, float("nan")], dtype=object))
    assert exact(from_transfers(sparse))["b"] == "80"
    frame = frame.astype(dict.fromkeys(["token_address", "from_address", "to_address"], "category"))
    assert exact(from_transfers(frame))["b"] == "80"
