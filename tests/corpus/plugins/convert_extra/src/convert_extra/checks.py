class Size:
    """Loaded by stevedore."""

    def check(self, rows: list[dict]) -> str:
        import statistics

        return f"{len(rows)} rows, {statistics.mean(len(row) for row in rows):g} columns"
