"""What `client` asks a server, once it is known what is wanted of it. Event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.cli import client_inputs
from server.cli.client_inputs import Body, Typed
from server.cli.client_json import Answer
from server.cli.client_pictures import Levels
from server.client import Client, ModelMetadata, ModelState, Options, Receipt, Retries
from server.client.codec import Ask
from server.client.dialect import DIALECTS
from server.config import ConfigError
from server.inference import ModelAddress
from server.signature import Tensors


class Sending(NamedTuple):
    """One request: how the reader knows it, and what it is of."""

    name: str
    typed: Typed


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom to ask, how, and the options of each call."""

    client: Client
    model: str
    options: Options
    signature: str
    levels: Levels
    repeat: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Wanted":
        """From what was typed. ConfigError."""
        url = given["url"] if "://" in given["url"] else f"http://{given['url']}"
        options: Options = {}
        if given["version"] is not None:
            options["version"] = given["version"]
        if given["label"] is not None:
            options["label"] = given["label"]
        if given["priority"] is not None:
            options["priority"] = given["priority"]
        if len(options.keys() & {"version", "label"}) > 1:
            msg = "give either --version or --label"
            raise ConfigError(msg)
        try:
            client = Client(
                url,
                given["model"],
                protocol=given["protocol"],
                token=given["token"],
                timeout=given["timeout"],
                retries=Retries(attempts=given["retries"] + 1),
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        levels = Levels.parse(given["pixels"])
        return cls(client, given["model"], options, given["signature"], levels, given["repeat"])


def sendings(words: Sequence[str], named: Sequence[str]) -> list[Sending]:
    """The requests that were typed: one for each word, or one of named inputs. ConfigError."""
    if words and named:
        msg = "give either inputs by name with --input, or requests of one input each"
        raise ConfigError(msg)
    if named:
        return [Sending(" ".join(named), client_inputs.read_named(named))]
    return [Sending(word, client_inputs.read(word)) for word in words]


async def list_models(wanted: Wanted) -> Sequence[ModelState]:
    """The versions of all models. ClientError."""
    async with wanted.client as client:
        return await client.models()


async def describe(wanted: Wanted) -> tuple[ModelMetadata, Sequence[ModelState]]:
    """What a model takes and gives, and its versions. ClientError."""
    async with wanted.client as client:
        return await client.metadata(**wanted.options), await client.models()


async def ask(wanted: Wanted, requests: Sequence[Sending]) -> list[Answer]:
    """Send all requests at once, each as often as wanted. ClientError, ConfigError."""
    async with wanted.client as client:
        about = await client.metadata(**wanted.options)
        try:
            async with asyncio.TaskGroup() as group:
                under_way = [
                    [group.create_task(_send(wanted, about, request)) for _ in range(wanted.repeat)]
                    for request in requests
                ]
        except ExceptionGroup as failed:
            # Most likely all for the same reason.
            raise failed.exceptions[0] from None
        answered = [[task.result() for task in tasks] for tasks in under_way]
        return [
            Answer(request.name, each[0][0], [receipt for _, receipt in each])
            for request, each in zip(requests, answered, strict=True)
        ]


async def _send(wanted: Wanted, about: ModelMetadata, request: Sending) -> tuple[Tensors, Receipt]:
    if isinstance(request.typed, Body):
        return await _send_body(wanted, about, request.typed)
    signature = about.signature(wanted.signature)
    inputs = client_inputs.tensors(request.typed, signature, wanted.levels)
    options: Options = {**wanted.options}
    if wanted.signature:
        options["signature"] = wanted.signature
    return await wanted.client.infer_with_receipt(inputs, **options)


async def _send_body(wanted: Wanted, about: ModelMetadata, body: Body) -> tuple[Tensors, Receipt]:
    codec = DIALECTS["oip-json" if body.oip else "tfserving"].infer
    version, label = wanted.options.get("version"), wanted.options.get("label")
    target = codec.ask(Ask(ModelAddress(wanted.model, version, label), "", {})).target
    reply, receipt = await wanted.client.post(target, body.content, **wanted.options)
    signature = about.signature(body.signature) if codec.needs_signature else None
    return codec.outputs(reply, signature), receipt
