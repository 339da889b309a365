def apply(rows: list[dict]) -> list[dict]:
    return [{name: str(value).upper() for name, value in row.items()} for row in rows]
