"""What is made up for models of strings: pictures that decoders take, and serialized Examples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.models import load
from server.models.tensorflow_runtime import tf
from server.signature import TensorSpec
from server.warmup import WarmUp, warm_up
from server.warmup.examples import example_pairs, pairs
from server.warmup.inputs import WORDS
from server.warmup.pictures import jpeg, png
from tests.server import saved_models

SIDES = [1, 7, 8, 9, 32, 224]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("level", [0, 72, 255])
def test_a_png_has_the_size_and_the_level(side: int, level: int) -> None:
    pixels = tf.io.decode_png(png(side, level)).numpy()
    assert pixels.shape == (side, side, 3)
    assert (pixels == level).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("bright", "level"), [(True, 184), (False, 72)])
def test_a_jpeg_has_the_size_and_the_level(side: int, *, bright: bool, level: int) -> None:
    pixels = tf.io.decode_jpeg(jpeg(side, bright=bright), channels=3).numpy()
    assert pixels.shape == (side, side, 3)
    assert (pixels == level).all()
    # What takes only a JPEG takes it as well.
    tf.io.decode_and_crop_jpeg(jpeg(side, bright=bright), [0, 0, 1, 1])


FEATURES = {
    "x": TensorSpec("x", "float32", (2, 3)),
    "n": TensorSpec("n", "int64", ()),
    "text": TensorSpec("text", "string", (2,)),
}


def test_made_up_examples_have_every_feature_in_its_shape_and_differ_in_all() -> None:
    first, *others = pairs(FEATURES)
    assert len(others) == 2
    shapes = {
        name: tf.io.FixedLenFeature(spec.shape, spec.dtype) for name, spec in FEATURES.items()
    }
    parsed = tf.io.parse_example(list(first), shapes)
    for name in FEATURES:
        one, other = parsed[name].numpy()
        assert np.all(one != other)
    assert parsed["text"].numpy().tolist() == [[WORDS[0]] * 2, [WORDS[1]] * 2]


def test_without_strings_there_is_one_pair_and_without_features_none() -> None:
    assert len(list(pairs({"x": FEATURES["x"]}))) == 1
    assert list(pairs({})) == []


def of_required(inputs: Any) -> dict[str, Any]:
    """Regress Examples that must have features of every kind."""
    spec = {
        "x": tf.io.FixedLenFeature([3], tf.float32),
        "n": tf.io.FixedLenFeature([], tf.int64),
        "words": tf.io.VarLenFeature(tf.string),
    }
    parsed = tf.io.parse_example(inputs, spec)
    return {"outputs": tf.reduce_sum(parsed["x"], axis=1) + tf.cast(parsed["n"], tf.float32)}


def of_the_mean(inputs: Any) -> dict[str, Any]:
    outputs = of_required(inputs)["outputs"]
    return {"outputs": outputs - tf.reduce_mean(outputs)}


def cropped(image: Any) -> dict[str, Any]:
    """Pictures of 100 pixels or more."""

    def crop(encoded: Any) -> Any:
        pixels = tf.io.decode_jpeg(encoded, channels=3)
        return tf.image.crop_to_bounding_box(pixels, 0, 0, 100, 100)

    return {"y": tf.map_fn(crop, image, fn_output_signature=tf.uint8)}


def of_base64(image: Any) -> dict[str, Any]:
    return {
        "y": tf.map_fn(
            lambda text: tf.io.decode_png(tf.io.decode_base64(text)),
            image,
            fn_output_signature=tf.uint8,
        )
    }


def numbers(text: Any) -> dict[str, Any]:
    return {"y": tf.strings.to_number(text)}


def padded_words(text: Any) -> dict[str, Any]:
    return {"y": tf.strings.length(tf.strings.split(text).to_tensor(""))}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> WarmUp:
    functions: list[Callable[..., Any]] = [
        *(of_required, of_the_mean, cropped, of_base64, numbers, padded_words)
    ]
    names = {function: function.__code__.co_varnames[0] for function in functions}
    folder: Path = saved_models.save(
        tmp_path_factory.mktemp("strings"),
        1,
        {f.__name__: (f, {name: ("string", [None])}) for f, name in names.items()},
    )
    model = load(folder / "1")
    return warm_up(model, (1, 2, 4), examples=example_pairs(folder / "1", model))


@pytest.mark.parametrize("name", ["of_required", "cropped", "of_base64", "numbers"])
def test_a_signature_on_strings_finds_input_and_shares_batches(warm: WarmUp, name: str) -> None:
    assert warm.signatures[name].batchable


@pytest.mark.parametrize("name", ["of_the_mean", "padded_words"])
def test_rows_of_strings_that_influence_each_other_are_found(warm: WarmUp, name: str) -> None:
    assert "a row alone differs" in warm.signatures[name].alone


def test_a_model_without_strings_or_examples_needs_no_examples(models: dict[str, Path]) -> None:
    for name, version in [("half_plus_two", "123"), ("words", "1")]:
        folder = models[name] / version
        assert example_pairs(folder, load(folder)) == ()
