"""PyTorch: the guide's recipe and other kinds of modules, answered as by PyTorch itself."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="has its own environment: .ci/frameworks/run")

from server.declare import signature
from server.models.callables import function_of
from tests.guide import outputs, write

ROWS = np.random.default_rng(0).random((20, 4)).astype("float32")
IN, OUT = {"x": "float32[-1,4]"}, {"y": "float32[-1,3]"}


def linear() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(), torch.nn.Softmax(dim=1))


def test_a_module_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(linear().state_dict(), "blossoms.pt")
    answered = outputs(write("blossoms", tmp_path), ROWS.tolist())
    network = importlib.import_module("blossoms").network
    with torch.inference_mode():
        direct = network(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose(answered, direct, rtol=1e-5)


class Sum(torch.nn.Module):  # type: ignore[misc]
    """Takes two tensors by name, and has no parameters."""

    def forward(self, left: Any, right: Any) -> Any:
        return {"left": left, "sum": left + right}


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["module", "traced", "exported"])
def test_a_module_of_any_kind_is_in_evaluation_mode(kind: str) -> None:
    network = linear()
    rows = torch.from_numpy(ROWS)
    expected = network.eval()(rows).detach().numpy()
    if kind == "traced":
        network = torch.jit.trace(network, rows)
    elif kind == "exported":
        size = torch.export.Dim("rows", min=2)
        exported = torch.export.export(network, (rows,), dynamic_shapes=({0: size},))
        network = exported.module()
    else:
        network.train()
    function = function_of("f", signature(IN, OUT)(network), "m:network")
    returned = function.call({"x": ROWS.copy()})
    assert not returned.requires_grad
    np.testing.assert_allclose(returned.numpy(), expected, rtol=1e-5)


def test_tensors_are_passed_by_name_and_returned_by_name() -> None:
    takes = {"right": "float32[-1]", "left": "float32[-1]"}
    gives = {"left": "float32[-1]", "sum": "float32[-1]"}
    function = function_of("f", signature(takes, gives)(Sum()), "m:network")
    returned = function.call({"right": np.ones(1, "float32"), "left": np.zeros(1, "float32")})
    assert {name: tensor.tolist() for name, tensor in returned.items()} == {
        "left": [0.0],
        "sum": [1.0],
    }


def test_a_module_that_declares_nothing_is_shown_how_to() -> None:
    with pytest.raises(TypeError, match=r"write served = signature\(.*\)\(network\), and serve"):
        function_of("f", linear(), "m:network")
