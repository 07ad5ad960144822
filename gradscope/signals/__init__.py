"""Pure functions from a ``Run`` to arrays. A number in a finding and the same number in a figure come from here."""
