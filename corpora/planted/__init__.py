"""A small instruction corpus made by program, so that the quality of every row is known.

    python -m corpora.planted corpora              the sample, its truth and the held-out tasks
    python -m corpora.planted base/rows.jsonl      clean rows for the base model

`words` holds the tables, `numbers`, `language` and `writing` hold the task families, `damage` the
ways in which a row can be poor, `plant` puts the corpus together, `files` writes it.
"""
