"""Corpora that come with the repository, each beside the program that makes it."""
