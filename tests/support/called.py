"""The command line as tests call it."""

from typer.testing import CliRunner

from marketplace.cli import app


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def refused(result):
    """The one line of a refusal."""
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2
    assert len(lines) == 1 and lines[0].startswith("marketplace: "), result.stderr
    return lines[0]
