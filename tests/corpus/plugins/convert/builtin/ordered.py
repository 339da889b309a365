import heapq


def apply(rows: list[dict]) -> list[dict]:
    return heapq.nsmallest(len(rows), rows, key=lambda row: sorted(row.items()))
