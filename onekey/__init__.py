"""onekey: an encrypted file host. Every share has its own key, and the key lives only in the link."""

__version__ = "0.1.0"
