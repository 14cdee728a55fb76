from lid_mapmix.apps.report.tables import format_table


def test_table_worked_by_hand():
    rows = {"baseline": {"acc": 0.5, "count": 12}, "mapmix": {"acc": 0.67749, "ece": 0.067}}
    assert format_table(rows).splitlines() == [
        "            acc  count    ece",
        "baseline  0.500     12      -",
        "mapmix    0.677      -  0.067",
    ]


def test_a_name_stays_on_its_line_and_steers_no_terminal():
    assert format_table({"group g\n1": {"acc": 1.0}, "\x1b[2J中": {"acc": 0.5}}).splitlines() == [
        "              acc",
        "group g\\n1  1.000",
        "\\x1b[2J中    0.500",
    ]


def test_nothing_is_minus_zero():
    assert format_table({"before": {"cross_entropy": -0.0}, "B − A": {"cross_entropy": -0.0004}}).split()[2::2] == [
        "0.000",
        "−",
        "0.000",
    ]


def test_no_rows_are_no_table():
    assert format_table({}) == ""
