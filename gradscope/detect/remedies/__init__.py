"""One file per remedy: what it does, the lines of PyTorch, which findings it answers, and the change of a config."""
