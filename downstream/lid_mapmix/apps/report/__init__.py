"""``lid-mapmix report``: a page of a run that opens from disk: scores, pictures, the worst utterances to hear.

From top to bottom: command.py reads the flags' values and writes the page, page.py lays it out (page.html, page.css),
figures.py and datamap_figure.py draw, for files as well, tables.py counts, gather.py and clips.py read what the run has
left. model_card.py writes the run's other description; table_files.py writes tables for papers, of other commands too.
"""
