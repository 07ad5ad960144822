"""Many runs from one file: a base config, axes, one table, one map."""
