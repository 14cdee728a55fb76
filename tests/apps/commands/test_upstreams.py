"""``lid-mapmix upstreams``."""

import pytest
from lid_mapmix.apps.cli import main
from lid_mapmix.config.sources import upstream_config_names


def _printed(capsys, *arguments):
    assert main(["upstreams", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_has_every_file_in_its_group_and_fits_a_terminal(capsys):
    lines = _printed(capsys).splitlines()
    assert max(map(len, lines)) <= 120
    names = upstream_config_names()
    rows = [line for line in lines if line[:1].strip() and line.split()[0] in names]
    assert sorted(row.split()[0] for row in rows) == names
    heading = {}
    for line in lines:
        current = line if line.endswith(("corpora", "GB", "(-k)")) else locals().get("current")
        heading[line.partition(" ")[0]] = current
    for name, group in (
        *(("fbank", "Without"), ("mhubert_147", "Base"), ("w2v_bert_2", "Large"), ("mms_lid_4017", "Largest")),
        ("hf_auto", "Your"),
    ):
        assert heading[name].startswith(group)
    large = [row.split()[0] for row in rows if heading[row.split()[0]].startswith("Large models")]
    assert large[0] == "mms_300m"  # many languages first
    assert "CC BY-NC 4.0" in next(row for row in rows if row.startswith("mms_1b"))


def test_one_is_described_from_its_file(capsys):
    printed = _printed(capsys, "xlsr_53")
    for expected in ("-f -s last_hidden_state", "-s hidden_states", "1e-5", "arXiv 2302.08229", "different lengths"):
        assert expected in printed
    assert "317 M parameters, 53 languages; licence of the weights: MIT" in printed
    assert "of one length" in _printed(capsys, "hubert")
    assert "https://huggingface.co/facebook/mms-1b, or a copy of it by -k FOLDER" in _printed(capsys, "mms_1b")


def test_one_without_a_file_takes_the_defaults(capsys):
    printed = _printed(capsys, "tera")
    assert "the defaults are used" in printed
    assert "-f -s last_hidden_state" in printed


def test_all_names_of_s3prl(capsys):
    names = _printed(capsys, "--all").split()
    assert {"xlsr_53", "tera", "fbank"} <= set(names)
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["xlsr53", "../evil"])
def test_an_unknown_one_is_one_line(name, capsys):
    assert main(["upstreams", name]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: unknown upstream")
    assert error.count("\n") == 1
