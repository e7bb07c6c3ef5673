"""Duplicates out, validation and test rows held out by duplicate cluster, a tokenizer made."""
