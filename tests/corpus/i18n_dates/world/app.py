import gettext
import json
import locale
import zoneinfo
from datetime import datetime, timezone
from importlib import resources

import babel
from babel import Locale, dates, lists, numbers, support
from dateutil import parser, rrule, tz
from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

DATA = resources.files("world") / "data"
CITIES = json.loads((DATA / "cities.json").read_text(encoding="utf-8"))
environment = Environment(loader=PackageLoader("world"), extensions=["jinja2.ext.i18n", "jinja2.ext.do"], autoescape=True)
MOMENT = datetime(2024, 3, 31, 0, 30, tzinfo=timezone.utc)


def translations(language: str):
    with resources.as_file(resources.files("world").joinpath("translations")) as folder:
        return support.Translations.load(str(folder), [language], domain="messages")


async def page(request: Request) -> HTMLResponse:
    language = request.query_params.get("lang", "en")
    chosen = Locale.parse(language, sep="-" if "-" in language else "_")
    environment.install_gettext_translations(translations(chosen.language))
    rows = []
    for city, zone in CITIES.items():
        there = MOMENT.astimezone(zoneinfo.ZoneInfo(zone))
        rows.append((city, dates.format_datetime(there, "full", locale=chosen), dates.get_timezone_name(there, locale=chosen)))
    template = environment.get_template("page.html")
    price = numbers.format_currency(1234567.5, "EUR", locale=chosen)
    names = lists.format_list(list(CITIES), locale=chosen)
    return HTMLResponse(template.render(rows=rows, price=price, names=names, language=chosen.display_name))


async def rules(_request: Request) -> JSONResponse:
    days = rrule.rrule(rrule.MONTHLY, count=3, dtstart=parser.parse("Jan 31 2024 10:00"), bymonthday=-1)
    berlin = tz.gettz("Europe/Berlin")
    return JSONResponse(
        {
            "days": [day.isoformat() for day in days],
            "berlin": MOMENT.astimezone(berlin).isoformat(),
            "zones": len(zoneinfo.available_timezones()) > 400,
            "plural": Locale("pl").plural_form(5),
            "relative": dates.format_timedelta(-MOMENT.utcoffset() or MOMENT - MOMENT.replace(hour=0, minute=0), locale="fr"),
            "version": bool(babel.__version__),
            "parsed": str(numbers.parse_decimal("1.234,5", locale="de")),
        }
    )


async def system(_request: Request) -> PlainTextResponse:
    name = locale.setlocale(locale.LC_ALL, "")
    plain = gettext.translation("messages", str(resources.files("world") / "translations"), ["de"], fallback=True)
    encoded = "é".encode("cp1252").hex() + "я".encode("koi8-r").hex() + "日本".encode("shift_jis").hex()
    return PlainTextResponse(f"{bool(name)} {plain.gettext('Time')} {encoded} {'bücher.example'.encode('idna').decode()}")


app = Starlette(routes=[Route("/", page), Route("/rules", rules), Route("/system", system)])
