"""Turns documents into other documents: pictures, XML, YAML, tables, PDF, Markdown."""

import io

import jsonschema
import lxml.html
import markdown
import msgpack
import openpyxl
import orjson
import yaml
from bs4 import BeautifulSoup
from flask import Flask, Response, request
from lxml import etree
from PIL import Image, ImageDraw, ImageFont
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from reportlab.pdfgen import canvas

app = Flask(__name__)
SHEET = etree.XSLT(
    etree.XML(
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">'
        '<names><xsl:for-each select="//name"><n><xsl:value-of select="."/></n></xsl:for-each></names>'
        "</xsl:template></xsl:stylesheet>"
    )
)
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"when": {"type": "string", "format": "date"}, "n": {"type": "integer"}},
}


@app.get("/picture.<kind>")
def picture(kind: str):
    image = Image.new("RGB", (64, 32), "navy")
    ImageDraw.Draw(image).text((4, 4), "abc", fill="white", font=ImageFont.load_default(12))
    data = io.BytesIO()
    image.resize((32, 16)).save(data, kind)
    back = Image.open(io.BytesIO(data.getvalue()))
    return Response(f"{back.format} {back.size} {back.convert('L').getpixel((0, 0))}", content_type="text/plain")


@app.post("/xml")
def xml():
    tree = etree.fromstring(request.get_data())
    names = tree.xpath("//name/text()")
    html = lxml.html.fromstring("<p class=a>x<b>y")
    return Response(str(SHEET(tree)) + ",".join(names) + lxml.html.tostring(html).decode() + str(html.text_content()))


@app.post("/yaml")
def from_yaml():
    document = yaml.load(request.get_data(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    packed = msgpack.packb(document, datetime=True)
    text = orjson.dumps(msgpack.unpackb(packed, timestamp=3), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    return Response(text + yaml.safe_dump(document).encode(), content_type="text/plain")


@app.post("/table")
def table():
    book = openpyxl.Workbook()
    for row in request.get_json():
        book.active.append(row)
    data = io.BytesIO()
    book.save(data)
    rows = openpyxl.load_workbook(io.BytesIO(data.getvalue())).active.iter_rows(values_only=True)
    return Response(orjson.dumps([list(row) for row in rows]), content_type="application/json")


@app.get("/pdf")
def pdf():
    data = io.BytesIO()
    page = canvas.Canvas(data, invariant=1)
    page.setFont("Times-Roman", 12)
    page.drawString(100, 700, "Hello")
    page.showPage()
    page.save()
    return Response(str(len(data.getvalue()) > 500) + data.getvalue()[:8].decode())


@app.post("/markdown")
def from_markdown():
    html = markdown.markdown(request.get_data(as_text=True), extensions=["tables", "fenced_code", "markdown.extensions.toc"])
    code = highlight("def f(): pass", get_lexer_by_name("python"), HtmlFormatter(style="friendly"))
    soup = BeautifulSoup(html, "html.parser")
    return Response(html + code + str([tag.name for tag in soup.find_all()]) + BeautifulSoup("<p>a", "lxml").text)


@app.post("/valid")
def valid():
    checker = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    return Response(orjson.dumps(sorted(error.message for error in checker.iter_errors(request.get_json()))))
