"""Synthesise: the questions of a file's rows in other words, with people's contexts and answers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from winnow.core.params import Probability
from winnow.generate.methods import Asking, Candidate
from winnow.generate.methods.paraphrase import reworded
from winnow.generate.methods.unchanged import Unchanged


@dataclass(frozen=True, kw_only=True, slots=True)
class Synthesise(Unchanged):
    """Which questions are put in other words, and how far these are to be from the old ones."""

    max_overlap: Probability = 0.4
    """Share of the new question's runs of eight words that the old one has too; a question of fewer
    words has none."""

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        from winnow.generate.reading import OVERLAP, overlap, reason_of

        for row, made in reworded(self, seed, asking, "synthesise"):
            failure = made.failure or reason_of(made.instruction, made.input, made.response)
            if failure is None:
                shared = overlap(made.instruction, row.instruction)
                failure = OVERLAP if shared is not None and shared > self.max_overlap else None
            yield replace(made, failure=failure)
