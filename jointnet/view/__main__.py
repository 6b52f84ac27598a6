"""Show predictions in a browser: `python -m jointnet.view --folder DIR`, with DIR from `jointnet.predict`.

`docs/how-to/view-and-export.md` describes the page. Ctrl+C stops the server.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.system.commands import run_command
from jointnet.system.terminal import command_name

LARGEST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 stopped by Ctrl+C, 2 invalid usage, 3 unreadable results."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _view(options.folder, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.view"),
        description="Look at predictions in a browser on this machine; docs/how-to/view-and-export.md describes it.",
        epilog="example: python -m jointnet.view --folder prediction",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="output of `jointnet.predict`, of a pair or a folder",
    )
    parser.add_argument("--port", type=int, default=0, help="port on this machine; a free one by default")
    return parser


def _view(folder: Path, port: int) -> None:
    from jointnet.view.predictions import find_predictions  # imports torch and nibabel, which --help does not need
    from jointnet.view.server import ADDRESS, Site, serve

    if not 0 <= port <= LARGEST_PORT:
        raise SettingsError(f"--port: must be from 0, any free one, to {LARGEST_PORT}, got {port}")
    results = find_predictions(folder)
    site = Site(results, secrets.token_urlsafe(12))
    try:
        server = serve(site, port)
    except OSError as error:
        raise SettingsError(f"--port: must be free, got {port}: {error.strerror}") from None
    with server:
        count = f"{len(results)} prediction{'' if len(results) == 1 else 's'}"
        print(f"{count}: http://{ADDRESS}:{server.server_port}/{site.secret}/", flush=True)
        print("for this machine's browser only; Ctrl+C ends it", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
