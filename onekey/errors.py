"""The one error tree.

The text of every error here is a whole sentence that may be shown to anyone: it never holds a key, a token, a
name or content. Classes are told apart only where a caller acts differently; the doors map each to a status.
"""


class OnekeyError(Exception):
    """Anything that onekey itself refuses or finds wrong."""


# What a reader of a container tells apart: format.md, section 4.


class ContainerError(OnekeyError):
    """A container cannot be opened."""


class NotAContainer(ContainerError):
    """Too short, or another magic: this was never a container."""


class Unsupported(ContainerError):
    """A header field holds what version 1 does not allow."""


class PasswordNeeded(ContainerError):
    """The header asks for a password and none was given."""


class WrongKey(ContainerError):
    """The commitment differs: wrong token, wrong password or a damaged header."""


class Damaged(ContainerError):
    """The bytes are not those that were sealed, or are not there."""


# What the doors answer.


class BadRequest(OnekeyError):
    """The request cannot be understood or asks for what cannot be."""


class ClientGone(BadRequest):
    """The body ended before it was whole."""


class BadToken(BadRequest):
    """Not 32 characters of base64url: no link and no owner ever had this token."""


class WrongHost(BadRequest):
    """The request names a host that is not ours."""


class Forbidden(OnekeyError):
    """A secret or a right is missing."""


class SealedOnly(Forbidden):
    """The share may be opened only where its reader is: format.md, section 6."""


class NotFound(OnekeyError):
    """Expired, deleted, used up, wrong knock or never there: nobody can tell which."""

    def __init__(self) -> None:
        super().__init__("There is nothing here: it has expired, was deleted, or the link is not whole.")


class WrongPassword(Forbidden):
    """Who has the link does not know the password: one guess."""


class LeaseNeeded(Forbidden):
    """The share has limited opens, `left` of them, and the request shows no lease."""

    def __init__(self, left: int) -> None:
        super().__init__(
            f"This share can be opened {left} more time{'' if left == 1 else 's'}: POST takes one of them."
        )
        self.left = left


class TooMany(OnekeyError):
    """Too many guesses or unfinished uploads; `retry_after` seconds from now another may be tried."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Taken(OnekeyError):
    """The blob id is in use, or was once."""


class NotOpen(OnekeyError):
    """The upload is finished, given up or was never begun."""


class Unprocessable(OnekeyError):
    """What was uploaded is no container yet, or a request's fields are not what they have to be."""


class TooSlow(OnekeyError):
    """The client kept the server waiting for its body."""


class TooLarge(OnekeyError):
    """More bytes, files or fields than this server takes."""


class NoRoom(OnekeyError):
    """The disk is full, or would be fuller than MIN_FREE_SPACE allows."""


class Busy(OnekeyError):
    """Too many passwords are being tried at once; the same request may do in a moment."""

    retry_after = 2


# What stops a server from starting.


class BadSetting(OnekeyError):
    """A setting cannot be: names the variable, the value and what would do."""


class NewerSchema(OnekeyError):
    """The database was written by a newer onekey than this one."""
