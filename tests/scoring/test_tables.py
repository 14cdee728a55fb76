from lid_mapmix.scoring.tables import format_table


def test_table_worked_by_hand():
    rows = {"baseline": {"acc": 0.5, "count": 12}, "mapmix": {"acc": 0.67749, "ece": 0.067}}
    assert format_table(rows).splitlines() == [
        "            acc  count    ece",
        "baseline  0.500     12      -",
        "mapmix    0.677      -  0.067",
    ]


def test_no_rows_are_no_table():
    assert format_table({}) == ""
