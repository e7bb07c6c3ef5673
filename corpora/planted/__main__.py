"""Write the corpus:         python -m corpora.planted corpora
Write the base's rows:    python -m corpora.planted base/rows.jsonl"""

import sys
from pathlib import Path

from corpora.planted.files import write_base, write_corpus

if len(sys.argv) != 2:
    sys.exit("usage: python -m corpora.planted FOLDER|FILE.jsonl")
path = Path(sys.argv[1])
write_base(path) if path.suffix == ".jsonl" else write_corpus(path)
