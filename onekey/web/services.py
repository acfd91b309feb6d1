"""What a request works with: put together once, by the composition root, and carried by the application."""

from dataclasses import dataclass, field

from flask import current_app

from onekey.settings import Settings
from onekey.tally import Tally
from onekey.uploads import Uploads
from onekey.vault import Clock, Vault

_NAME = "onekey"


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, the settings and the clock that one application serves with."""

    settings: Settings
    vault: Vault
    uploads: Uploads
    tally: Tally
    clock: Clock
    client_key: bytes = field(repr=False)
    """Keys what stands for clients in the database, which holds no address."""
    hosts: frozenset[str]
    """The host names that requests may ask for, besides those of this machine itself; in lower case, without ports."""


def install(extensions: dict[str, object], services: Services) -> None:
    """Give an application its services."""
    extensions[_NAME] = services


def services() -> Services:
    """Those of the application that serves the current request."""
    return services_of(current_app.extensions)


def services_of(extensions: dict[str, object]) -> Services:
    """Those that `install` gave an application."""
    found = extensions[_NAME]
    assert isinstance(found, Services)
    return found
