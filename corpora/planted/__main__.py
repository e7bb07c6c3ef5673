"""Write the corpus: python -m corpora.planted corpora"""

import sys
from pathlib import Path

from corpora.planted.files import write_corpus

if len(sys.argv) != 2:
    sys.exit("usage: python -m corpora.planted FOLDER")
write_corpus(Path(sys.argv[1]))
