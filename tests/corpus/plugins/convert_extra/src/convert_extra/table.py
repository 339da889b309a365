import csv
import io
from importlib.resources import files


def to_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    text.write((files("convert_extra") / "header.txt").read_text())
    writer = csv.DictWriter(text, sorted(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
