"""Untrusted text on a terminal: escaped in messages, in log lines and in JSON."""

import io
import json
import logging
import os
import sys

import pytest
from helpers.layouts import write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.one_line import one_line, printable_json

TEXT = "\x1b[2J\n\x9b31m\u202eabc"


def test_what_a_terminal_interprets_is_escaped():
    assert one_line(TEXT) == r"\x1b[2J\n\x9b31m\u202eabc"
    escaped = printable_json(json.dumps([TEXT, "ü"], ensure_ascii=False, indent=1))
    assert json.loads(escaped) == [TEXT, "ü"]
    assert all(character.isprintable() or character == "\n" for character in escaped)
    assert "ü" in escaped


def test_file_names_in_log_lines_are_escaped(tmp_path, monkeypatch, capsys):
    """Once raw: log lines of prepare did not go through one_line."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    for name in ("a", "b"):
        for number in range(3):
            write_tone(tmp_path / "audio" / name / f"{number}.wav")
    (tmp_path / "audio/a/x.\x1b[2J\n").write_text("")
    assert cli.main(["prepare", "folder", str(tmp_path / "audio"), "--out", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert r"\x1b[2j\n" in printed.err.lower()


def test_output_in_an_ascii_locale_is_escaped(monkeypatch):
    """Once, even --help ended in a traceback; bytes of file names stay."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    print(os.fsdecode(b"caf\xe9"))
    sys.stdout.flush()
    assert rb"\u2026" in written.getvalue()
    assert written.getvalue().endswith(b"caf\xe9\n")
