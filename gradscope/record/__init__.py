"""The data model: what a run is on disk and in memory, and what a verdict is. numpy and pyarrow, never torch."""
