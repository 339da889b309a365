"""One foreign system each: the host's Python environment, key files, SQLite, sockets.

Charter: adapters convert foreign errors into ours at the seam and do not know each other.
"""
