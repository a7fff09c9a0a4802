"""`batcher-server monitoring`: prints what Grafana and Prometheus are given. Main thread."""

from importlib.resources import files
from typing import Final

import click

from server.cli.console import EXAMPLES, HELP

_FILES: Final = {"dashboard": "dashboard.json", "alerts": "alerts.yml"}


@click.command(
    help="""Print a file for the monitoring of a server.

    dashboard is for Grafana: Dashboards, New, Import. alerts is for Prometheus: a file of its
    rule_files.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server monitoring dashboard > batcher.json
  batcher-server monitoring alerts > batcher.yml""",
)
@click.argument("what", type=click.Choice(list(_FILES)))
def monitoring(*, what: str) -> None:
    """Print it as it is in the package."""
    folder = files("server") / "monitoring"
    click.echo((folder / _FILES[what]).read_text("utf-8"), nl=False)
