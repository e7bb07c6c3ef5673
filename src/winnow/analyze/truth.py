"""The planted truth: of which quality every row of a corpus was made, where that is known."""

import json
from pathlib import Path

from winnow.core import params
from winnow.core.errors import Refusal


def read(path: str) -> dict[str, str]:
    """Content hash -> the quality that the row was made with.

    Raises:
        Refusal: the file is missing, or a line is not as it should be.
    """
    params.demand_file("analyze.truth", path, "; a corpus without one has null")
    truth = dict[str, str]()
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            truth[row["hash"]] = row["quality"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{path}:{number}: expected hash and quality, found {error!r}") from None
    return truth
