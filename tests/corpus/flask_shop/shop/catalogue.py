import csv
import io
from dataclasses import dataclass


@dataclass
class Item:
    name: str
    cents: int


def items() -> list[Item]:
    return [Item("apple", 45), Item("bread", 320), Item("crème", 199)]


def find(name: str) -> Item | None:
    return next((item for item in items() if item.name == name), None)


def as_csv() -> io.BytesIO:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["name", "cents"])
    writer.writerows((item.name, item.cents) for item in items())
    return io.BytesIO(text.getvalue().encode())
