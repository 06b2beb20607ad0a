"""YAML as people write it: one reader of configs, which refuses what would grow, or win, without a word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from t2.errors import T2Error, quoted

if TYPE_CHECKING:
    import yaml

MOST_NODES = 100_000
"""Keys, values and list entries of a config, with each alias (*x) counted as what it stands for. Nine lines of ten
aliases each would be a billion."""
_CHARACTERS_OF_A_NODE = 64
"""A text counts as one node for each of these: an alias may repeat a long one, too."""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The content of a config file.

    Raises:
        T2Error: no such file, no YAML with keys, a key twice, or aliases that stand for too much or for themselves.
    """
    import yaml

    try:
        content = _load(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # not UTF-8 is a ValueError
        raise T2Error(f"Expected a YAML config, got {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise T2Error(f"Expected keys and values, as `data.pool`, in the config {path}, got {quoted(str(content))}.")
    return content


def is_yaml(name: object) -> TypeGuard[str]:
    """Whether a value is the name of a YAML file."""
    return isinstance(name, str) and name.endswith((".yaml", ".yml"))


def _load(text: str, path: str | Path) -> object:
    """What `yaml.safe_load` gives, of nodes that have been checked: merged keys (<<) grow when objects are made.

    Dates stay the texts that they are, as train.py leaves them: `prompt.date` is one.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012  # as PyYAML declares it
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}, path) > MOST_NODES:
            raise T2Error(
                f"Expected a config of at most {MOST_NODES:,} values, got more in {path} once its aliases (*x) are "
                "written out. Take them out."
            )
        content: object = loader.construct_document(node)
        return content
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], path: str | Path) -> int:
    """Nodes of a tree, aliases written out; `known` has the sizes so far by identity, 0 while one is counted.

    Raises:
        T2Error: an alias inside what it stands for, or a key twice.
    """
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value) // _CHARACTERS_OF_A_NODE
    if (size := known.get(id(node))) is not None:
        if size == 0:
            raise T2Error(f"Expected a config that ends, got an alias (*x) inside what it stands for in {path}.")
        return size
    known[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, path)
        children = [child for pair in node.value for child in pair]
    else:
        children = node.value
    known[id(node)] = 1 + sum(_size(child, known, path) for child in children)
    return known[id(node)]


def _check_keys(node: yaml.MappingNode, path: str | Path) -> None:
    """Of two equal keys the last would win.

    Raises:
        T2Error: there are two; names the key and its line.
    """
    seen = set[str]()
    for key, _ in node.value:
        if not isinstance(key.value, str):  # no scalar, which the making of objects refuses
            continue
        if key.value in seen and key.value != "<<":
            raise T2Error(
                f"Expected each key once, got `{key.value}` twice in {path}, again in line {key.start_mark.line + 1}. "
                "Keep one of them."
            )
        seen.add(key.value)
