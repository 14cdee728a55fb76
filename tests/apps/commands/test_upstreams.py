"""``lid-mapmix upstreams``."""

import pytest
from lid_mapmix.apps.cli import main
from lid_mapmix.config.sources import upstream_config_names


def _printed(capsys, *arguments):
    assert main(["upstreams", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_has_every_file_and_fits_a_terminal(capsys):
    lines = _printed(capsys).splitlines()
    assert [line.split()[0] for line in lines[2:] if line[:1].strip()][: len(upstream_config_names())] == (
        upstream_config_names()
    )
    assert max(map(len, lines)) <= 120
    xlsr = next(line for line in lines if line.startswith("xlsr_53"))
    assert "1e-5/1e-4" in xlsr


def test_one_is_described_from_its_file(capsys):
    printed = _printed(capsys, "xlsr_53")
    for expected in ("-f -s last_hidden_state", "-s hidden_states", "1e-5", "arXiv 2302.08229", "different lengths"):
        assert expected in printed
    assert "of one length" in _printed(capsys, "hubert")


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
