"""Calls C: the system's libraries by ctypes, those that wheels bring, and one that SQLite loads."""

import ctypes
import ctypes.util
import os
import struct

import apsw
import argon2
import pypdfium2
import sqlite_vec
import xxhash
from flask import Flask, Response, jsonify, request

app = Flask(__name__)

libz = ctypes.CDLL(ctypes.util.find_library("z") or "libz.so.1")
libz.crc32.argtypes = [ctypes.c_ulong, ctypes.c_char_p, ctypes.c_uint]
libz.crc32.restype = ctypes.c_ulong
libm = ctypes.CDLL("libm.so.6")
libm.cbrt.restype = ctypes.c_double
libm.cbrt.argtypes = [ctypes.c_double]
libc = ctypes.CDLL(None, use_errno=True)


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]


@app.post("/crc32")
def crc32():
    data = request.get_data()
    return jsonify(crc32=libz.crc32(0, data, len(data)), xxh64=xxhash.xxh64(data).hexdigest())


@app.get("/numbers")
def numbers():
    values = (ctypes.c_int * 4)(4, 2, 3, 1)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    libc.qsort(values, 4, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
    libc.close(-1)
    return jsonify(
        sorted=list(values),
        cbrt=libm.cbrt(27.0),
        error=os.strerror(ctypes.get_errno()),
        point=bytes(Point(1, 2)).hex(),
        uuid=bool(ctypes.util.find_library("c")),
    )


@app.get("/pages")
def pages():
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 100)
    document.new_page(300, 100)
    return jsonify(pages=len(document), width=document[1].get_width())


@app.post("/nearest")
def nearest():
    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(sqlite_vec.loadable_path())
    database.execute("create virtual table v using vec0(e float[2])")
    for number, (x, y) in enumerate(request.get_json()["points"], 1):
        database.execute("insert into v(rowid, e) values (?, ?)", (number, struct.pack("2f", x, y)))
    rows = database.execute("select rowid, distance from v where e match ? order by distance limit 2", ["[1, 1]"])
    return jsonify(list(rows))


@app.post("/password")
def password():
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    return Response(str(hasher.verify(hasher.hash("secret", salt=b"0123456789abcdef"), "secret")))
