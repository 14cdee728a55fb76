"""``lid-mapmix leaderboard``: upstreams × variants × data × seeds, each run by the launcher, and what came of them.

From top to bottom: command.py reads the flags, procedure.py does what they ask for. grid.py has the grid, jobs.py turns
it into runs and the data maps that they share and foresees for how long, running.py trains them, each in a process of
its own, and keeps beside each how far it came (state.py). results.py reads what they left, comparison.py tests who is
best, tables.py (with leaderboard.html, .css, .js) writes it, beside the paper; bundle.py packs and verifies it.
"""
