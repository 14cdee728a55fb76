"""``lid-mapmix report``: an HTML page of a run that opens from disk: scores, figures, the worst utterances with audio.

command.py defines the flags and writes the page; page.py lays it out (page.html, page.css); figures.py and
datamap_figure.py draw, also for files; tables.py computes tables; gather.py and clips.py read the files of the run.
model_card.py writes the model card. table_files.py writes tables for papers, also for other commands.
"""
