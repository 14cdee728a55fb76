"""``lid-mapmix leaderboard``: train upstreams × variants × data × seeds, and compare the runs.

command.py defines the flags, procedure.py executes the command. grid.py defines the grid; jobs.py turns it into runs
and shared data maps; running.py trains each in its own process and records its status (state.py). results.py reads the
scores, comparison.py tests which row is best, tables.py (leaderboard.html, .css, .js) writes the tables, also next to
those of the paper; bundle.py packs them.
"""
