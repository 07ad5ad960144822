"""Pictures of a sweep, one file each: ``TITLE``, ``size(view)`` in inches, ``draw(figure, view)``."""
