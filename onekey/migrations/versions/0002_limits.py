"""Limited opens, leases, guesses, counts, parts on their way; marks of parts, and what an upload asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("shares", sa.Column("life", sa.BigInteger))
    op.add_column("shares", sa.Column("opens", sa.BigInteger))
    op.add_column("shares", sa.Column("opened", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("shares", sa.Column("last_opened", sa.BigInteger))
    op.add_column("shares", sa.Column("uploader", sa.LargeBinary(16)))
    op.create_index("shares_uploader", "shares", ["uploader"], sqlite_where=sa.text("uploader IS NOT NULL"))
    op.add_column("parts", sa.Column("mark", sa.LargeBinary(16)))
    op.create_table(
        "leases",
        sa.Column("hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("share", sa.String(32), nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("served", sa.Boolean, nullable=False),
    )
    op.create_index("leases_share", "leases", ["share"])
    op.create_table(
        "guesses",
        sa.Column("share", sa.String(32), primary_key=True),
        sa.Column("client", sa.LargeBinary(16), primary_key=True),
        sa.Column("guess", sa.LargeBinary(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counts",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("label", sa.String(64), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "arriving",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO counts SELECT 'stored_bytes', '', coalesce(sum(size), 0) FROM parts")
