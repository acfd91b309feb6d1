"""The composition root: settings in, a WSGI application out. Nothing else puts the pieces together."""

import threading
import time
from types import TracebackType

from flask import Flask

from onekey import logs
from onekey.blobs import DiskBlobs
from onekey.errors import BadSetting
from onekey.limits import Limits
from onekey.locks import Allowance, kept_key, locked
from onekey.passwords import Passwords
from onekey.records import Records
from onekey.settings import Settings
from onekey.tally import Tally
from onekey.uploads import UNPROVEN, Uploads
from onekey.vault import Clock, Swept, Vault
from onekey.web import failures, metrics, names, openapi, policy
from onekey.web.api import api
from onekey.web.checkup import checkup
from onekey.web.direct import direct
from onekey.web.intake import AnyText, intake
from onekey.web.pages import pages
from onekey.web.services import Services, install, services_of


class App(Flask):
    """Flask, saying nothing of a request in its log."""

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        """Flask's own line holds the path, which is the key."""
        logs.log.error("A request failed: %s.", logs.place(exc_info[1]))


def open_records(settings: Settings) -> Records:
    """The database in CONTENT_DIR, made and brought up to date if need be. Raises BadSetting, NewerSchema."""
    folder = settings.content_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder / "migrate.lock"):
            records = Records.at(folder / "onekey.db")
            records.migrate()
    except OSError:
        raise BadSetting(
            f"CONTENT_DIR cannot be {str(settings.content_dir)!r}: what would do is a folder that can be written to."
        ) from None
    return records


def create_services(settings: Settings, clock: Clock = time.time) -> Services:
    """Open what is stored in CONTENT_DIR. Raises what open_records does, and OSError."""
    records, folder = open_records(settings), settings.content_dir.absolute()
    blobs, limits = DiskBlobs(folder / "blobs"), Limits(records.database)
    passwords = Passwords(clock, settings.lease_time)
    tally = Tally(limits, counts=settings.metrics_token is not None)
    vault = Vault(
        records,
        limits,
        blobs,
        passwords,
        tally,
        clock,
        max_expiry=settings.max_expiry,
        lease_time=settings.lease_time,
    )
    uploads = Uploads(
        records,
        blobs,
        passwords,
        clock,
        unproven=Allowance(folder / "unproven.lock", UNPROVEN),
        chunk_size=settings.chunk_size,
        max_size=settings.max_upload_size,
        min_free=settings.min_free_space,
        quota=settings.max_stored_bytes,
        max_expiry=settings.max_expiry,
        tally=tally,
    )
    key = kept_key(folder / "clients.key")
    return Services(settings, vault, uploads, tally, clock, key, policy.hosts(settings))


def create_app(settings: Settings, clock: Clock = time.time) -> App:
    """The application that serves one CONTENT_DIR. Raises what create_services does."""
    logs.install()
    app = App("onekey.web", static_url_path="/static")
    app.config.update(PROPAGATE_EXCEPTIONS=False, SEND_FILE_MAX_AGE_DEFAULT=3600)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.url_map.converters.update({"anytext": AnyText, **openapi.CONVERTERS})
    install(app.extensions, create_services(settings, clock))
    failures.install(app)
    app.before_request(policy.check_host)
    app.after_request(policy.finish)
    app.add_template_filter(names.shown_name)
    app.register_blueprint(api)
    app.register_blueprint(direct)
    app.register_blueprint(intake)
    app.register_blueprint(pages)
    app.register_blueprint(checkup)
    metrics.install(app)
    return app


def sweep(app: App) -> Swept | None:
    """Sweep once; None where another process is at it."""
    services = services_of(app.extensions)
    with locked(services.settings.content_dir / "sweep.lock", wait=False) as mine:
        return services.vault.sweep() if mine else None


def sweep_for_ever(app: App, stop: threading.Event) -> None:
    """Sweep at once, then every SWEEP_INTERVAL until told to stop; of all processes that do, one at a time sweeps."""
    interval = services_of(app.extensions).settings.sweep_interval
    while True:
        try:
            sweep(app)
        except Exception as error:  # a full disk, say: the next time may do better
            logs.log.error("A sweep failed: %s.", logs.place(error))
        if stop.wait(interval):
            return
