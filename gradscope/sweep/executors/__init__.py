"""Where points are carried out, one file each: a class ``Executor``."""
