"""`r2talker serve`: an avatar speaks in a browser."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.live.config import ServeConfig


@dataclass(frozen=True)
class ServeArguments:
    """Open a studio at http://127.0.0.1:7860 where an avatar speaks what it hears, at 25 pictures per second."""

    avatar: Positional[Path]
    """Avatar folder, or a folder of avatars to choose from."""
    serve: ServeConfig = field(default_factory=ServeConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw; auto takes a CUDA device when there is one."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(ServeArguments, "serve", arguments)
    config = args.serve if args.serve.token else replace(args.serve, token=os.environ.get("R2TALKER_TOKEN", ""))
    from r2talker.live.guard import check_config
    from r2talker.live.library import Library
    from r2talker.live.server import make_server_app
    from r2talker.live.web import WebServer

    check_config(config)
    library = Library(args.avatar, device=args.device)
    library.stage(library.first)
    server = WebServer(make_server_app(library, config), config)
    print(f"the studio is open at {server.address}{'#token=...' if config.token else ''}; Ctrl-C closes it")
    # Ctrl-C is how a studio is meant to end.
    with suppress(KeyboardInterrupt):
        server.run()
