"""``lid-mapmix leaderboard``: upstreams × variants × data × seeds, each run by the launcher, and what came of them.

From top to bottom: command.py reads the flags' values, grid.py the grid, jobs.py turns it into runs and the data maps
that they share, running.py trains them, each in a process of its own (process.py), and keeps beside each how far it
came (state.py); estimate.py says beforehand for how long. results.py reads what they left, comparison.py tests who is
best, tables.py and page.py (leaderboard.html, .css, .js) write it, paper.py sets it beside the paper, bundle.py packs
and verifies it, slurm.py hands the work to a cluster.
"""
