"""One file per format of a verdict. A file holds ``NAME``, ``SUFFIX`` and

``write(report, run=None, *, terminal=PLAIN) -> str``, the whole text, ending in a new line. What is for machines does not
look at the terminal.
"""
