"""The rows of a draw as what a step is made of: packed sequences, or pairs of answers."""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from numpy.typing import NDArray
from pyarrow import csv

from winnow.core import files
from winnow.core.checks import holds
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, score_column
from winnow.core.layout import SELECTED, scores_name
from winnow.core.objectives import Policy, Preference, name_of
from winnow.core.records import REJECTED, questions
from winnow.models.family import Family
from winnow.models.pairs import Answers, Pairs
from winnow.models.prompts import Prompt, Prompts
from winnow.models.sequences import Document, Documents, Units, shuffled


class Draw:
    """The rows that an arm's training of one seed learns from, and those that it validates on."""

    def __init__(self, arm: Experiment, seed: int, model: Family) -> None:
        """Read both splits.

        Raises:
            Refusal: the objective compares two answers, and a row has one; or a program cannot
                check a row's.
        """
        self.arm, self.seed, self.model = arm, seed, model
        self.folder = SELECTED / arm.draw(seed)
        self.rows = {split: self._read(split) for split in ("train", "validation")}
        self.num_rows = len(self.rows["train"])

    def _read(self, split: str) -> pa.Table:
        table = files.read_split(self.folder / split)
        if not self.compares:
            return table
        both = table.slice(0, 0)
        if REJECTED in table.column_names:
            both = table.filter(pc.not_equal(table[REJECTED], ""))
        if not len(both) or (split == "train" and len(both) < len(table)):
            raise Refusal(
                f"{self.folder / split}: {len(table) - len(both)} of {len(table)} rows have no "
                f"rejected answer, and {name_of(self.arm.recipe.objective)} compares two: name "
                "rejected in ingest.keep, and take a tier of the rule pairs"
            )
        return both

    @property
    def compares(self) -> bool:
        """Whether the objective learns from pairs of answers."""
        return isinstance(self.arm.recipe.objective, Preference)

    @cached_property
    def documents(self) -> dict[str, Any]:
        """Each row as tokens, or each pair, by split."""
        return {split: self._documents(table) for split, table in self.rows.items()}

    def _documents(
        self, table: pa.Table
    ) -> Documents | list[Document] | list[Answers] | list[Prompt]:
        objective = self.arm.recipe.objective
        if isinstance(objective, str):
            return self.model.documents(table, objective)
        if isinstance(objective, Policy):
            return self._prompts(table, objective)
        answers = [table["response"], table[REJECTED]]
        if objective.name == "kto":
            # An answer to another question, of which KTO's divergence is estimated: the next row's.
            answers.append(table["response"].take(np.roll(np.arange(len(table)), -1)))
        place = table.column_names.index("response")
        tables = (table.set_column(place, "response", answer) for answer in answers)
        found = (self.model.documents(each.combine_chunks(), "response") for each in tables)
        return list(zip(*found, strict=True))

    def train(self, packing: bool) -> Units:
        """What is trained on, in its order: packed, or a padded row a document; or pairs.

        Raises:
            Refusal: the scores that the recipe orders by are not there, or nothing fits.
        """
        documents = shuffled(self.documents["train"], self.seed, self._keys())
        if isinstance(self.arm.recipe.objective, Policy):
            return self._asked(documents, self.arm.recipe.objective)
        if self.compares:
            pairs = self._pairs(documents)
            both = sum(document.num_targets for pair in documents for document in pair[:2])
            self._say_cut(both - pairs.num_targets)
            return pairs
        train = self.model.sequences(documents, packing, self.arm.recipe.is_ordered)
        self._say_cut(self.model.num_cut(documents, train))
        return train

    def validation(self) -> Units:
        """What is validated on; the model is built."""
        if isinstance(self.arm.recipe.objective, Policy):
            return self._asked(self.documents["validation"], self.arm.recipe.objective)
        if self.compares:
            return self._pairs(self.documents["validation"])
        return self.model.sequences(self.documents["validation"], packing=self.model.packs)

    def _pairs(self, documents: list[Answers]) -> Pairs:
        pairs = Pairs.of(documents, self.arm.model.context)
        if not len(pairs):
            context = self.arm.model.context
            raise Refusal(f"no two responses begin within the context of {context} tokens")
        return pairs

    def _prompts(self, table: pa.Table, numbers: Policy) -> list[Prompt]:
        """Each row's question as a model reads it, with the row's own response."""
        place = table.column_names.index("response")
        empty = pa.array([""] * len(table), table["response"].type)
        rows = table.set_column(place, "response", empty).combine_chunks()
        asked = questions(rows.to_batches()[0]).to_pylist() if len(rows) else []
        responses = table["response"].to_pylist()
        if numbers.check == "number":
            for row_id, response in zip(table["id"].to_pylist(), responses, strict=True):
                try:
                    holds("number", response, "0")
                except ValueError:
                    raise Refusal(
                        f"{self.folder}: row {row_id} has a response that is no number, and "
                        f"{numbers.name} checks for one: take rows whose response is the answer"
                    ) from None
        read = self.model.documents(rows, "response")
        ids = (one.ids[: len(one.ids) - one.num_targets] for one in read)
        return [Prompt(*parts) for parts in zip(ids, asked, responses, strict=True)]

    def _asked(self, documents: list[Prompt], numbers: Policy) -> Prompts:
        context, room = self.arm.model.context, numbers.max_new_tokens
        found = Prompts.of(documents, context, room, numbers.samples)
        if not len(found):
            raise Refusal(
                f"no prompt leaves room for an answer of {room} tokens in the context of {context}:"
                " lower objective.max_new_tokens"
            )
        if lost := len(documents) - len(found):
            PartialState().print(
                f"train: {lost} of {len(documents)} prompts leave no room for {room} tokens in "
                f"{context}, and are left out"
            )
        return found

    def _say_cut(self, lost: int) -> None:
        if lost:
            context, tier = self.arm.model.context, self.arm.tier_name
            PartialState().print(f"train: rows of {context} tokens cut {lost} tokens off {tier}")

    def _keys(self) -> NDArray[np.float64] | None:
        """What orders the documents of a draw, the lowest first; None where no score does.

        Raises:
            Refusal: the scores are not there.
        """
        arm = self.arm
        if arm.order_scorer is None:
            return None
        path, column = SELECTED / scores_name(arm.draw(self.seed)), score_column(arm.order_scorer)
        lines = csv.ParseOptions(newlines_in_values=True)
        kinds = csv.ConvertOptions(column_types={column: pa.float64()})
        table = csv.read_csv(path, parse_options=lines, convert_options=kinds)
        if column not in table.column_names:
            raise Refusal(
                f"{path} has no scores of {arm.order_scorer}, by which {arm.name} is ordered: name "
                f"it in score.scorers and run `winnow score && winnow select {arm.name}`"
            )
        keys: NDArray[np.float64] = table[column].to_numpy().astype(np.float64)
        return -keys if arm.recipe.order == "descending" else keys
