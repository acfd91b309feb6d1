"""onekey's gunicorn settings, for another application: all but the sweeper."""

from onekey import serve
from onekey.serve import harden

bind, workers, threads = serve.bind, serve.workers, serve.threads
worker_class, worker_connections = serve.worker_class, serve.worker_connections
graceful_timeout, accesslog, errorlog, loglevel = serve.graceful_timeout, None, "-", "warning"


def on_starting(_server: object) -> None:
    """As onekey does."""
    harden()
