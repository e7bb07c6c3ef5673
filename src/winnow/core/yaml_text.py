"""YAML text as plain values, within bounds: what is short to write is quick to read.

An alias repeats what it names, ten of ten of ten; brackets open a level each; a number may have
a million digits. What a file of parameters needs is far from all of these bounds.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from winnow.core.errors import loading

MAX_VALUES, MAX_DEPTH, MAX_DIGITS = 5_000, 16, 100
TYPES = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
}


class _Bounded(Composer):  # type: ignore[misc]
    """Counts values and levels as they are with every alias replaced by what it names."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self.extents: dict[int, tuple[int, int]] = {}
        """By id of a node that is read to its end: its values and its levels."""
        self.repeated = 0
        """Values that aliases stand for."""

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Read a node and all that is in it."""
        mark = self.parser.peek_event().start_mark
        if self.depth >= MAX_DEPTH:
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        if problem := self._measure(node):
            raise ComposerError(None, None, problem, mark)
        return node

    def return_alias(self, node: Node) -> Node:
        """What an alias names."""
        if id(node) not in self.extents:
            raise ComposerError(None, None, "an alias of what it is in", node.start_mark)
        self.repeated += self.extents[id(node)][0]
        return node

    def _measure(self, node: Node) -> str | None:
        """What is wrong with a node, whose children are measured."""
        children = [] if isinstance(node, ScalarNode) else node.value
        if isinstance(node, MappingNode):
            children = [part for pair in children for part in pair]
        inside = [self.extents[id(child)] for child in children]
        values = 1 + sum(number for number, _ in inside)
        levels = 1 + max((number for _, number in inside), default=0)
        self.extents[id(node)] = values, levels
        if node.tag not in TYPES:
            return f"the type {node.tag.rpartition(':')[2]} is not taken: put a text in quotes"
        if node.tag.endswith(("int", "float")) and len(node.value) > MAX_DIGITS:
            return f"a number of more than {MAX_DIGITS} digits"
        if len(self.extents) + self.repeated > MAX_VALUES or levels > MAX_DEPTH:
            return f"more than {MAX_VALUES} values or {MAX_DEPTH} levels"
        return None


def parse(text: bytes, name: str) -> Any:
    """The values of one YAML 1.2 document, as DVC reads it: 1e-4 is a number and `on` is text.

    Args:
        text: UTF-8.
        name: of the file, for messages.

    Raises:
        Refusal: it is no such document, or past a bound.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Bounded
    with loading(f"{name} is not valid YAML"):
        try:
            return yaml.load(text.decode())
        except MarkedYAMLError as error:
            line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
            raise ValueError(f"{line}{error.problem}"[:300]) from None
