"""Shares, their parts, tombstones, and the clock's memory."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(4), nullable=False),
        sa.Column("header", sa.LargeBinary(96), nullable=False),
        sa.Column("part_chunks", sa.Integer, nullable=False),
        sa.Column("knock_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("access_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("owner_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("touched", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("died", sa.BigInteger),
    )
    op.create_index("shares_expires", "shares", ["expires"])
    op.create_index("shares_state", "shares", ["state", "touched"])
    op.create_table(
        "parts",
        sa.Column("share", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table("tombstones", sa.Column("id", sa.LargeBinary(16), primary_key=True))
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("ahead_since", sa.BigInteger),
    )
