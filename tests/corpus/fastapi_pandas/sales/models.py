from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import Enum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Region(str, Enum):
    north = "north"
    south = "south"


class Sale(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identifier: UUID
    region: Region
    day: date
    price: Decimal = Field(gt=0, decimal_places=2)

    @field_validator("day")
    @classmethod
    def not_before_the_shop(cls, value: date) -> date:
        if value.year < 2000:
            raise ValueError("the shop opened in 2000")
        return value


class Summary(BaseModel):
    rows: int
    by_region: dict[str, float]
    by_month: dict[str, float]
    median: float
