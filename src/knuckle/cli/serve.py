"""`knuckle serve`: the local web page with camera and photos."""

from __future__ import annotations

import contextlib
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import typer

from knuckle.cli.console import say


def serve(
    model: Annotated[str, typer.Option("--model", help="Model to run, as knuckle predict takes it.")] = "light",
    boxes: Annotated[
        Literal["full"] | None,
        typer.Option("--boxes", help="full: one hand that fills the picture. Default: the model's detector."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. The default is for this computer alone.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1... Default: a GPU if any.")] = None,
) -> None:
    """Open a page that finds hands in the camera's picture or in photos, until Ctrl-C.

    Photos go from the browser to this process and nowhere else; nothing is kept.

    Example: knuckle serve --model runs/first --boxes full
    """
    from knuckle.predict import load
    from knuckle.serve.door import Server, is_loopback

    predictor = load(model, device=device)
    try:
        server = Server(predictor, Path(model).name, boxes, host=host, port=port)
    except OSError as error:
        raise ValueError(
            f"nothing can listen on {host}, port {port} ({error.strerror or error}); choose another with --port."
        ) from error
    shown = f"[{host}]" if ":" in host else "localhost" if host == "127.0.0.1" else host
    address = f"http://{shown}:{server.server_port}/"
    if not is_loopback(host):
        say(
            f"Warning: everybody who can reach {host} can use this page, unencrypted; their browsers will not give it "
            "a camera."
        )
    say(f"Open {address} (Ctrl-C ends).")
    if browser:
        threading.Timer(0.3, webbrowser.open, [address]).start()
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    say("Stopped.")
