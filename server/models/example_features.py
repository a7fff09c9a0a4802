"""Which features a SavedModel parses out of the serialized Examples that it takes. Any thread.

Its signatures say only that they take strings; the operations of its graph that parse them name the
features. Nothing is loaded for that but the file of the graph.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from server.models.tensorflow_runtime import saved_model_pb2, tf
from server.signature import TensorSpec

_PARSERS: Final = frozenset({"ParseExample", "ParseExampleV2"})


def example_features(path: Path) -> Mapping[str, TensorSpec]:
    """The features of a SavedModel by name, each of one row; {} if it parses none.

    ValueError where their names are computed, not written in the graph.
    """
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    features: dict[str, TensorSpec] = {}
    for graph in saved.meta_graphs:
        bodies = [graph.graph_def.node, *(f.node_def for f in graph.graph_def.library.function)]
        for nodes in bodies:
            for name, spec in _parsed(nodes):
                features.setdefault(name, spec)
    return features


def _parsed(nodes: Iterable[Any]) -> Iterator[tuple[str, TensorSpec]]:
    """What the operations of one graph, or of one function, parse."""
    by_name = {node.name: node for node in nodes}
    for node in by_name.values():
        if node.op in _PARSERS:
            constants = [_strings(by_name.get(name.partition(":")[0])) for name in node.input]
            for name, dtype, shape in _of_parser(node, constants):
                sizes = tuple(1 if size is None else size for size in shape)
                yield name, TensorSpec(name, tf.as_dtype(dtype).name, sizes)


def _of_parser(
    node: Any, constants: Sequence[list[str]]
) -> Iterator[tuple[str, int, Sequence[int | None]]]:
    """Name, dtype and shape of each feature: the keys are inputs, after the examples and names."""
    attributes = node.attr
    if node.op == "ParseExampleV2":
        sparse, dense = constants[2:4]
    else:
        middle = 2 + attributes["Nsparse"].i
        sparse = [key for keys in constants[2:middle] for key in keys]
        dense = [
            key for keys in constants[middle : middle + attributes["Ndense"].i] for key in keys
        ]
    yield from (
        (k, t, [1]) for k, t in zip(sparse, attributes["sparse_types"].list.type, strict=True)
    )
    shapes = [tf.TensorShape(shape).as_list() for shape in attributes["dense_shapes"].list.shape]
    yield from zip(dense, attributes["Tdense"].list.type, shapes, strict=True)


def _strings(node: Any) -> list[str]:
    """The strings of a constant; none if the node is no constant of strings."""
    if node is None or node.op != "Const":
        return []
    return [value.decode() for value in tf.make_ndarray(node.attr["value"].tensor).ravel().tolist()]
