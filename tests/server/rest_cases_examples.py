"""The numbered cases of TensorFlow Serving's REST API that are about examples: 67 to 77."""

from typing import Any

from tests.server.rest_asking import EXAMPLES, FEATURES, HALF, no, yes

HELLO = '{"b64": "aGVsbG8="}'


def of_examples(name: str, examples: str, more: str = "") -> str:
    return f'{{"signature_name": "{name}", "examples": {examples}{more}}}'


def half(verb: str, number: str, examples: str, *words: str, more: str = "") -> Any:
    """Examples that half_plus_two refuses with these words."""
    body = of_examples(f"{verb}_x_to_y", examples, more)
    return no(number, FEATURES, body, *words, verb=verb)


def features(number: str, example: str, classes: list[list[Any]], context: str = "") -> Any:
    """An example that is classified as its own features: labels word and n, scores x and x2."""
    more = f', "context": {context}' if context else ""
    body = of_examples("classify", f"[{example}]", more)
    return yes(number, FEATURES, body, {"results": [classes]}, "classify")


OF_EXAMPLES = [
    yes(
        "67",
        FEATURES,
        of_examples("regress_x_to_y", '[{"x": 80.0}]'),
        b'{"results":[42.0]}',
        "regress",
    ),
    yes(
        "68",
        FEATURES,
        of_examples("classify_x_to_y", '[{"x": 20.0}]'),
        b'{"results":[[["",12.0]]]}',
        "classify",
    ),
    yes(
        "69",
        EXAMPLES,
        of_examples("classify", '[{"x": 0.2}, {"x": 2.0}]'),
        b'{"results":[[["low",-0.2],["high",0.2]],[["low",-2.0],["high",2.0]]]}',
        "classify",
    ),
    yes(
        "69-classes-only",
        EXAMPLES,
        of_examples("labels", '[{"x": 0.2}]'),
        b'{"results":[[["low",0.0],["high",0.0]]]}',
        "classify",
    ),
    features("70-scalars", '{"x": 1.5, "word": "hi", "n": 7}', [["hi", 1.5], ["7", 0.0]]),
    features("70-lists", '{"x": [1.5], "word": ["hi"], "n": [7]}', [["hi", 1.5], ["7", 0.0]]),
    features("70-b64", f'{{"x": 1e0, "word": {HELLO}}}', [["hello", 1.0], ["0", 0.0]]),
    features("70-true", '{"x": -1.0, "n": true}', [["none", -1.0], ["1", 0.0]]),
    features("70-false", '{"x": -1.0, "n": [false]}', [["none", -1.0], ["0", 0.0]]),
    features("71", '{"x": 1.0}', [["hi", 1.0], ["0", 3.0]], '{"x2": 3.0, "word": "hi"}'),
    features("71-both", '{"x": 1.0}', [["none", 1.0], ["0", 0.0]], '{"x": 2.0}'),
    half("regress", "71-context", '[{"x": 1.0}]', '"context"', "a list", more=', "context": [1]'),
    no("72", FEATURES, "{}", 'must have "examples"', verb="classify"),
    half("regress", "72-object", '{"x": 1.0}', "must be a list", "an object"),
    half("regress", "72-empty", "[]", "no examples"),
    half("regress", "72-list-inside", '[{"x": 1.0}, [1.0]]', "[1]", "a list"),
    half("regress", "73-null", '[{"x": null}]', "[0]", "'x'", "null"),
    half("regress", "73-nested", '[{"x": [1.0, [2.0]]}]', "'x'[1]", "a list"),
    half("regress", "73-object", '[{"x": {"b65": "aGVsbG8="}}]', "'x'", "an object"),
    half("regress", "73-bad-b64", '[{"x": {"b64": "aGVsbG8=="}}]', "'x'", "base64"),
    half("regress", "73-kinds", '[{"x": [10, 10.0]}]', "'x'[1]", "floats", "integers"),
    half("regress", "73-int64", f'[{{"x": {2**63}}}]', "'x'", "64 bits"),
    half("regress", "74", '[{"x": 80}]', "the model refused the input"),
    half("regress", "75", "[{}]", "the model refused the input"),
    half("regress", "75-other", '[{"x2": 1.0}]', "the model refused the input"),
    no(
        "76-classify",
        FEATURES,
        of_examples("regress_x_to_y", '[{"x": 1.0}]'),
        "does not classify",
        "'classes' or 'scores'",
        verb="classify",
    ),
    no(
        "76-regress",
        FEATURES,
        of_examples("classify_x_to_y", '[{"x": 1.0}]'),
        "does not regress",
        "'outputs'",
        verb="regress",
    ),
    no("77", HALF, '{"examples": [{"x": 1.0}]}', "takes no examples", "'inputs'", verb="regress"),
]
