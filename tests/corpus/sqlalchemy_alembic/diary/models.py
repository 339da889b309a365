from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    written: Mapped[datetime | None]
    red: Mapped[float | None]
    tags: Mapped[list[Tag]] = relationship(
        back_populates="entry", cascade="all, delete-orphan", lazy="selectin"
    )
    tag_names: AssociationProxy[list[str]] = association_proxy(
        "tags", "name", creator=lambda name: Tag(name=name)
    )

    @hybrid_property
    def length(self) -> int:
        return len(self.title)

    @validates("title")
    def not_empty(self, _key: str, value: str) -> str:
        if not value:
            raise ValueError("a title is not empty")
        return value


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"))
    name: Mapped[str]
    colour: Mapped[dict | None] = mapped_column(JSON)
    entry: Mapped[Entry] = relationship(back_populates="tags")
