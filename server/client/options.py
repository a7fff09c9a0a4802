"""What a call may say beside its inputs. Pure."""

from collections.abc import Mapping
from typing import TypedDict


class Options(TypedDict, total=False):
    """Each may be left out.

    model, version, label   whom to ask: the client's own model, its newest version
    signature               which function of it: the default one
    timeout                 seconds for the whole call: those of the client; `math.inf` for any
    priority                lower is more urgent, 0 is usual; understood by this project's server
    request_id              printable ASCII, repeated in the server's answer and log
    headers                 more of them
    """

    model: str
    version: int
    label: str
    signature: str
    timeout: float
    priority: int
    request_id: str
    headers: Mapping[str, str]
