import io
from contextlib import asynccontextmanager
from typing import Annotated

import pandas as pd
from fastapi import APIRouter, Depends, FastAPI, File, Header, HTTPException, Query, UploadFile
from fastapi.responses import PlainTextResponse, StreamingResponse

from sales.models import Region, Sale, Summary

STORE: dict[str, Sale] = {}


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.started = True
    yield


app = FastAPI(title="Sales", lifespan=lifespan)
router = APIRouter(prefix="/sales")


def caller(x_caller: Annotated[str, Header()] = "nobody") -> str:
    return x_caller


@router.post("/summary")
async def summary(file: Annotated[UploadFile, File()]) -> Summary:
    frame = pd.read_csv(io.BytesIO(await file.read()), parse_dates=["day"])
    if frame.empty:
        raise HTTPException(422, "no rows")
    months = frame.groupby(frame["day"].dt.strftime("%Y-%m"))["price"].sum()
    return Summary(
        rows=len(frame),
        by_region=frame.groupby("region")["price"].mean().round(2).to_dict(),
        by_month=months.to_dict(),
        median=float(frame["price"].median()),
    )


@router.post("/pivot")
def pivot(file: Annotated[UploadFile, File()]) -> list[dict]:
    frame = pd.read_csv(file.file, parse_dates=["day"])
    frame["quarter"] = frame["day"].dt.to_period("Q").astype(str)
    table = frame.pivot_table(index="region", columns="quarter", values="price", aggfunc="sum", fill_value=0)
    merged = table.reset_index().merge(frame.groupby("region").size().rename("count").reset_index())
    merged["rank"] = merged["count"].rank(ascending=False).astype(int)
    return merged.sort_values("region").to_dict("records")


@router.get("/resampled", response_class=PlainTextResponse)
def resampled(days: Annotated[int, Query(ge=1, le=60)] = 10) -> str:
    index = pd.date_range("2024-02-25", periods=days, freq="D", tz="UTC")
    series = pd.Series(range(days), index=index, dtype="float64")
    weekly = series.resample("W").agg(["sum", "mean"]).round(3)
    return weekly.to_csv() + weekly.to_json(orient="split") + "\n" + weekly.to_html()


@router.post("", status_code=201)
def create(sale: Sale, who: Annotated[str, Depends(caller)]) -> dict:
    STORE[str(sale.identifier)] = sale
    return {"by": who, "sale": sale.model_dump(mode="json")}


@router.get("/{identifier}")
def read(identifier: str) -> Sale:
    if identifier not in STORE:
        raise HTTPException(404, "no such sale")
    return STORE[identifier]


@app.get("/regions")
def regions() -> list[Region]:
    return list(Region)


@app.get("/numbers")
async def numbers() -> StreamingResponse:
    async def lines():
        for number in range(3):
            yield f"{number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


app.include_router(router)
