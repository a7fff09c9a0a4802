"""An administrator: the token that a server is to know, and the headers of its requests."""

from typing import Final

from server.tokens import make_token

_SECRET, TOKEN = make_token("ops")
BEARER: Final = {"Authorization": f"Bearer {_SECRET}"}
HEADERS: Final = {"Host": "localhost"} | BEARER
"""With the name of the server, which clients over a socket add by themselves."""
