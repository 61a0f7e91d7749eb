"""Runs programs that a model has written: each in a process of its own, without network, files or further processes."""
