"""tags"""

import colorsys

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "tag",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("entry_id", sa.Integer, sa.ForeignKey("entry.id"), nullable=False),
        sa.Column("name", sa.String(30)),
        sa.Column("colour", sa.JSON),
    )
    with op.batch_alter_table("entry") as batch:
        batch.add_column(sa.Column("red", sa.Float, server_default=str(colorsys.hsv_to_rgb(0, 0.5, 1)[1])))
        batch.alter_column("title", type_=sa.String(200))


def downgrade() -> None:
    op.drop_table("tag")
