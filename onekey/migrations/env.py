"""How Alembic runs the steps: on the connection that `Records.migrate` gives, one transaction a step."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    transactional_ddl=True,  # SQLite's is, with BEGIN said by us; Alembic would not believe it
)
context.run_migrations()
