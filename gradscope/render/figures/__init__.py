"""One file per figure; ``update_ratio.py`` is the figure ``update-ratio``. A file holds

- ``NAME`` and ``TITLE``, and a first docstring line that says what one sees;
- ``size(runs, reports) -> (width, height)``, the page in inches;
- ``draw(figure, runs, reports)``, into a page or a part of one; ``reports`` has one report per run, or is empty;
- ``data(runs) -> rows``, the numbers behind it, nothing reduced: what ``--data`` writes.
"""
