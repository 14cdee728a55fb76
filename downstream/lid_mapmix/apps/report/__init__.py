"""``lid-mapmix report``: a page of a run that opens from disk: scores, pictures, the worst utterances to hear.

From top to bottom: command.py reads the flags' values and writes the page, page.py lays it out (page.html, page.css),
pictures.py draws with svg.py, gather.py, clips.py, curves.py and projection.py read what the run has left.
"""
